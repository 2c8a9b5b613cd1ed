package flash

import (
	"encoding/xml"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// parsePlist reads an XML property list (plist(5)) into map[string]any, []any, string,
// int64 and bool. Values of other types become strings.
func parsePlist(r io.Reader) (any, error) {
	d := xml.NewDecoder(r)
	for {
		tok, err := d.Token()
		if err != nil {
			return nil, fmt.Errorf("property list: %w", err)
		}
		if e, ok := tok.(xml.StartElement); ok && e.Name.Local != "plist" {
			return plistValue(d, e, 0)
		}
	}
}

func plistValue(d *xml.Decoder, e xml.StartElement, depth int) (any, error) {
	if depth > 32 {
		return nil, fmt.Errorf("property list: nested too deep")
	}
	switch e.Name.Local {
	case "dict":
		return plistDict(d, depth)
	case "array":
		var out []any
		err := plistEach(d, func(e xml.StartElement) error {
			v, err := plistValue(d, e, depth+1)
			out = append(out, v)
			return err
		})
		return out, err
	case "true", "false":
		return e.Name.Local == "true", d.Skip()
	}
	var s string
	if err := d.DecodeElement(&s, &e); err != nil {
		return nil, fmt.Errorf("property list: %w", err)
	}
	if e.Name.Local == "integer" {
		return strconv.ParseInt(strings.TrimSpace(s), 10, 64)
	}
	return s, nil
}

func plistDict(d *xml.Decoder, depth int) (map[string]any, error) {
	out := map[string]any{}
	key := ""
	err := plistEach(d, func(e xml.StartElement) error {
		if e.Name.Local == "key" {
			return d.DecodeElement(&key, &e)
		}
		v, err := plistValue(d, e, depth+1)
		out[key] = v
		return err
	})
	return out, err
}

// plistEach calls f for every child element until the parent ends.
func plistEach(d *xml.Decoder, f func(xml.StartElement) error) error {
	for {
		tok, err := d.Token()
		if err != nil {
			return fmt.Errorf("property list: %w", err)
		}
		switch e := tok.(type) {
		case xml.StartElement:
			if err := f(e); err != nil {
				return err
			}
		case xml.EndElement:
			return nil
		}
	}
}

// The getters return the zero value if the key is missing or has another type.

func plistGet(v any, key string) any {
	m, _ := v.(map[string]any)
	return m[key]
}

func plistHas(v any, key string) bool { return plistGet(v, key) != nil }

func plistText(v any, key string) string {
	s, _ := plistGet(v, key).(string)
	return s
}

func plistInt(v any, key string) int64 {
	n, _ := plistGet(v, key).(int64)
	return n
}

func plistBool(v any, key string) bool {
	b, _ := plistGet(v, key).(bool)
	return b
}

func plistList(v any, key string) []any {
	l, _ := plistGet(v, key).([]any)
	return l
}
