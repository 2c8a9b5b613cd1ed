package board

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/going-mobile/imagebuilder/firstboot/nearest"
)

// Label describes the hardware for somebody who has never seen it.
type Label struct {
	// Plug lists what to plug in, in order.
	Plug []Plug `yaml:"plug"`
	// Sides are the sides of the housing that have sockets, for a drawing.
	Sides []Side `yaml:"sides"`
	// Note says what the drawing cannot show.
	Note string `yaml:"note"`
	// LEDs are the lights to look at.
	LEDs []LED `yaml:"leds"`
}

// Plug is one step: something to plug in.
type Plug struct {
	// Into is the kind of socket.
	Into string `yaml:"into"`
	// What to plug in, and what to be careful about.
	What string `yaml:"what"`
}

// Side is one side of the housing.
type Side struct {
	Title string `yaml:"title"`
	// Size is width and height in millimetres.
	Size [2]float64 `yaml:"size"`
	// Sockets in any order.
	Sockets []Socket `yaml:"sockets"`
}

// Socket is a socket on a side of the housing.
type Socket struct {
	Kind string `yaml:"kind"`
	// At is the socket's centre, in millimetres from the side's upper left corner.
	At [2]float64 `yaml:"at"`
}

// LED is one light.
type LED struct {
	Name  string `yaml:"name"`
	Color string `yaml:"color"`
	Means string `yaml:"means"`
}

// SocketKinds are the sockets that can be drawn.
var SocketKinds = []string{"audio", "barrel", "displayport", "ethernet", "hdmi", "mains", "micro-hdmi", "micro-usb", "sd", "usb-a", "usb-c"}

// LEDColors are the colours of lights that can be drawn.
var LEDColors = []string{"amber", "blue", "green", "red", "white", "yellow"}

func (l Label) problem() (field, problem string) {
	for i, p := range l.Plug {
		if problem := oneOf(p.Into, SocketKinds); problem != "" {
			return at("plug", i, "into"), problem
		}
		if p.What == "" {
			return at("plug", i, "what"), "is missing"
		}
	}
	for i, s := range l.Sides {
		if field, problem := s.problem(); problem != "" {
			return at("sides", i, field), problem
		}
	}
	for i, d := range l.LEDs {
		if problem := oneOf(d.Color, LEDColors); problem != "" {
			return at("leds", i, "color"), problem
		}
	}
	return "", ""
}

func (s Side) problem() (field, problem string) {
	if s.Size[0] <= 0 || s.Size[1] <= 0 || s.Size[0] > 500 || s.Size[1] > 500 {
		return "size", "must be width and height in millimetres, such as [85, 18]"
	}
	for i, k := range s.Sockets {
		if problem := oneOf(k.Kind, SocketKinds); problem != "" {
			return at("sockets", i, "kind"), problem
		}
		if k.At[0] < 0 || k.At[0] > s.Size[0] || k.At[1] < 0 || k.At[1] > s.Size[1] {
			return at("sockets", i, "at"), fmt.Sprintf("%v is beside a side of %v", k.At, s.Size)
		}
	}
	return "", ""
}

// at is the path of a field of a list's element.
func at(list string, i int, field string) string {
	return list + "." + strconv.Itoa(i) + "." + field
}

func oneOf(word string, words []string) string {
	if slices.Contains(words, word) {
		return ""
	}
	if word == "" {
		return "is missing; one of " + strings.Join(words, ", ")
	}
	problem := fmt.Sprintf("%q is not one of %s", word, strings.Join(words, ", "))
	if near := nearest.Name(word, words); near != "" {
		problem += fmt.Sprintf("; did you mean %q?", near)
	}
	return problem
}
