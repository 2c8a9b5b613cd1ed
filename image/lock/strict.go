package lock

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"time"
)

// positions maps fields to the lines they stand on.
type positions map[string]int

// of returns the line of a field or, where it is absent, of the nearest object
// around it.
func (p positions) of(field string) int {
	for {
		if line, ok := p[field]; ok {
			return line
		}
		i := strings.LastIndexAny(field, ".[")
		if i < 0 {
			return 1
		}
		field = field[:i]
	}
}

// decode reads JSON into the struct to points to. encoding/json tells neither
// the line of an unknown field nor of a repeated one, so the tokens are
// compared with the struct first.
func decode(name string, data []byte, to any) (positions, error) {
	w := &walker{data: data, dec: json.NewDecoder(bytes.NewReader(data)), lines: positions{}, ends: map[int64]string{}}
	w.dec.UseNumber()
	if err := w.value("", reflect.TypeOf(to).Elem()); err != nil {
		return nil, w.fault(name, err)
	}
	if _, err := w.dec.Token(); err != io.EOF {
		w.field = ""
		return nil, w.fault(name, errors.New("something follows the end of the lock"))
	}
	if err := json.Unmarshal(data, to); err != nil {
		var te *json.UnmarshalTypeError
		if errors.As(err, &te) {
			field, ok := w.ends[te.Offset]
			if !ok {
				field = te.Field
			}
			err = fmt.Errorf("%s where %s is expected", te.Value, te.Type)
			return nil, &Error{File: name, Line: lineAt(data, te.Offset), Field: field, Err: err}
		}
		return nil, &Error{File: name, Line: 1, Err: err}
	}
	return w.lines, nil
}

// maxDepth is more than any lock needs, and little enough for names of fields
// to stay short.
const maxDepth = 20

// walker reads tokens along a type.
type walker struct {
	data  []byte
	dec   *json.Decoder
	lines positions
	ends  map[int64]string // fields by the offset behind their values
	field string           // last visited
	depth int

	counted  int64 // bytes whose newlines are counted
	newlines int
}

func (w *walker) fault(name string, err error) error {
	offset := w.dec.InputOffset()
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) {
		offset = syntax.Offset
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		w.field, err, offset = "", errors.New("file ends in the middle"), int64(len(w.data))
	}
	return &Error{File: name, Line: lineAt(w.data, offset), Field: w.field, Err: err}
}

// line is the line of the token just read.
func (w *walker) line() int {
	offset := w.dec.InputOffset()
	w.newlines += bytes.Count(w.data[w.counted:offset], []byte("\n"))
	w.counted = offset
	return 1 + w.newlines
}

func lineAt(data []byte, offset int64) int {
	return 1 + bytes.Count(data[:min(offset, int64(len(data)))], []byte("\n"))
}

// value reads one value that t will hold. Values of the wrong kind pass:
// json.Unmarshal words that better.
func (w *walker) value(field string, t reflect.Type) error {
	w.field = field
	token, err := w.dec.Token()
	if err != nil {
		return err
	}
	w.lines[field] = w.line()
	w.ends[w.dec.InputOffset()] = field
	if w.depth++; w.depth > maxDepth {
		return errors.New("nested too deeply")
	}
	defer func() { w.depth-- }()
	if text, ok := token.(string); ok && t == reflect.TypeFor[time.Time]() {
		if _, err := time.Parse(time.RFC3339, text); err != nil {
			return fmt.Errorf("%q is not a time like 2006-01-02T15:04:05Z", text)
		}
	}
	switch token {
	case json.Delim('{'):
		return w.object(field, t)
	case json.Delim('['):
		return w.array(field, t)
	case nil:
		return errors.New("null is no value here")
	}
	return nil
}

func (w *walker) array(field string, t reflect.Type) error {
	elem := reflect.TypeFor[any]()
	if t.Kind() == reflect.Slice {
		elem = t.Elem()
	}
	for i := 0; w.dec.More(); i++ {
		if err := w.value(fmt.Sprintf("%s[%d]", field, i), elem); err != nil {
			return err
		}
	}
	_, err := w.dec.Token()
	return err
}

func (w *walker) object(field string, t reflect.Type) error {
	fields := jsonFields(t)
	seen := map[string]bool{}
	for w.dec.More() {
		token, err := w.dec.Token()
		if err != nil {
			return err
		}
		key, _ := token.(string)
		at := strings.TrimPrefix(field+"."+key, ".")
		w.field = at
		ft, known := fields[key]
		switch {
		case seen[key]:
			return errors.New("field occurs twice")
		case fields != nil && !known:
			return fmt.Errorf("unknown field %q", key)
		case fields == nil:
			ft = reflect.TypeFor[any]()
		}
		seen[key] = true
		if err := w.value(at, ft); err != nil {
			return err
		}
	}
	_, err := w.dec.Token()
	return err
}

// jsonFields maps the names of a struct's fields to their types, or returns
// nil where t is no struct.
func jsonFields(t reflect.Type) map[string]reflect.Type {
	if t.Kind() != reflect.Struct {
		return nil
	}
	fields := map[string]reflect.Type{}
	for f := range t.Fields() {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if f.IsExported() && name != "" {
			fields[name] = f.Type
		}
	}
	return fields
}
