package strictyaml

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"gopkg.in/yaml.v3"
)

type secret struct {
	Env, File string
}

func (s *secret) UnmarshalYAML(n *yaml.Node) error {
	type plain secret
	return DecodeNode(n, (*plain)(s))
}

type even int

func (e *even) UnmarshalYAML(n *yaml.Node) error {
	var i int
	if _, err := fmt.Sscan(n.Value, &i); err != nil || i%2 != 0 {
		return fmt.Errorf("line %d: must be even", n.Line)
	}
	*e = even(i)
	return nil
}

type common struct {
	Version int `yaml:"version"`
}

type config struct {
	common   `yaml:",inline"`
	Hostname string            `yaml:"hostname"`
	AuthKey  secret            `yaml:"authKey"`
	Port     uint16            `yaml:"port"`
	Wait     time.Duration     `yaml:"wait"`
	Init     *bool             `yaml:"init"`
	Servers  []server          `yaml:"servers"`
	Labels   map[string]string `yaml:"labels"`
	Extra    map[string]any    `yaml:"extra"`
	Even     even              `yaml:"even"`
	//lint:ignore U1000 decoding must pass it over
	hidden int
}

type server struct {
	Host string `yaml:"host"`
	Port int    `yaml:"port"`
}

func TestDecode(t *testing.T) {
	const text = `
version: 1
hostname: 0123   # text, whatever it looks like
authKey: {file: k}
port: 6443
wait: 90s
init: true
servers: [{host: a}, {host: b, port: 7}]
labels: {on: yes, v: 1.30}
extra: {a: [1, {b: c}]}
even: 4
`
	yes := true
	want := config{
		common: common{1}, Hostname: "0123", AuthKey: secret{File: "k"}, Port: 6443, Wait: 90 * time.Second, Init: &yes,
		Servers: []server{{Host: "a"}, {"b", 7}}, Labels: map[string]string{"on": "yes", "v": "1.30"},
		Extra: map[string]any{"a": []any{1, map[string]any{"b": "c"}}}, Even: 4,
	}
	variants := map[string]string{
		"as written":   text,
		"CRLF":         strings.ReplaceAll(text, "\n", "\r\n"),
		"BOM":          "\xef\xbb\xbf" + text,
		"BOM and CRLF": "\xef\xbb\xbf" + strings.ReplaceAll(text, "\n", "\r\n"),
		"padded":       text + strings.Repeat("\n", 20000),
	}
	for name, data := range variants {
		var got config
		if err := Decode("node.yaml", []byte(data), &got); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if diff := cmp.Diff(want, got, cmp.AllowUnexported(config{}, common{})); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

func TestDecodeKeepsWhatIsAbsent(t *testing.T) {
	c := config{Hostname: "default", Port: 1}
	if err := Decode("f", []byte("port:\nversion: 1"), &c); err != nil {
		t.Fatal(err)
	}
	if c.Hostname != "default" || c.Port != 1 {
		t.Errorf("lost defaults: %+v", c)
	}
}

// TestANameMayBeAll: in a map from a person's names to structs, a name without a value has the
// struct's defaults. Everywhere else that is refused.
func TestANameMayBeAll(t *testing.T) {
	var sites map[string]server
	if err := Decode("f", []byte("home: # later\ncabin: ~\nvilla: {}"), &sites); err != nil || len(sites) != 3 {
		t.Errorf("%v, %v", sites, err)
	}
	var rest struct {
		Version int               `yaml:"version"`
		Sites   map[string]server `yaml:",inline"`
	}
	if err := Decode("f", []byte("version: 1\nhome:"), &rest); err != nil || len(rest.Sites) != 1 {
		t.Errorf("%v, %v", rest, err)
	}
	for _, into := range []any{new(map[string]*server), new(map[string]secret), new(map[string]map[string]string), new(struct {
		Home server `yaml:"home"`
	})} {
		if err := Decode("f", []byte("home:"), into); err == nil || !strings.Contains(err.Error(), `f:1: field "home": is empty`) {
			t.Errorf("%T: %v", into, err)
		}
	}
}

func TestErrors(t *testing.T) {
	for _, c := range []struct{ name, in, want string }{
		{"empty", "", "f: is empty"},
		{"only newlines", "\r\n\n \n", "f: is empty"},
		{"only a comment", "# nothing\n", "f: is empty"},
		{"only a document mark", "---\n", "f: is empty"},
		{"null", "~", "f: is empty"},
		{"binary", "\x7fELF\x00\x01", "f: is not UTF-8 text"},
		{"latin1", "hostname: caf\xe9", "f: is not UTF-8 text"},
		{"UTF-16", "\xff\xfeh\x00", "f: is UTF-16: save it as UTF-8"},
		{"huge", strings.Repeat("#", maxSize+1), "f: is 1048577 bytes long, the limit is 1048576: this is no configuration file"},
		{"list at the top", "- a", `f:1: want a mapping ("name: value" lines), have a list`},
		{"text at the top", "hello", `f:1: want a mapping ("name: value" lines), have text`},
		{"misspelt", "version: 1\nhostnmae: x", `f:2: field "hostnmae": unknown (did you mean "hostname"?)`},
		{"wrong case", "authkey: {env: X}", `f:1: field "authkey": unknown (did you mean "authKey"?)`},
		{"far off", "servers:\n- {qqqqq: 1}", `f:2: field "servers[0].qqqqq": unknown (known here: host, port)`},
		{"Go name of a hidden field", "hidden: 1", `f:1: field "hidden": unknown (known here: authKey, even, extra, hostname, init, labels, port, servers, version, wait)`},
		{"in an unmarshaler", "authKey:\n  fil: x", `f:2: field "authKey.fil": unknown (did you mean "file"?)`},
		{"unmarshaler's opinion", "even: 3", `f:1: field "even": must be even`},
		{"twice", "port: 1\nport: 2", `f:2: field "port": is already set on line 1`},
		{"twice in a map", "labels:\n  a: b\n  a: c", `f:3: field "labels.a": is already set on line 2`},
		{"number too large", "port: 70000", `f:1: field "port": want a whole number from 0 to 65535`},
		{"fraction", "port: 1.5", `f:1: field "port": want a whole number from 0 to 65535, have a number with a fraction`},
		{"text for a number", "version: two", `f:1: field "version": want a whole number, have text`},
		{"truth", "init: maybe", `f:1: field "init": want true or false`},
		{"duration", "wait: long", `f:1: field "wait": want a duration such as 90s or 2h`},
		{"list for text", "hostname: [a]", `f:1: field "hostname": want text, have a list`},
		{"text for a list", "servers: a", `f:1: field "servers": want a list, have text`},
		{"text for a mapping", "servers: [a]", `f:1: field "servers[0]": want a mapping ("name: value" lines), have text`},
		{"mapping without a value", "version: 1\nlabels: # none yet\n", `f:2: field "labels": is empty: write {} for its defaults, or leave it out`},
		{"structure without a value", "servers:\n- host: a\n-\n", `f:3: field "servers[1]": is empty: write {} for its defaults, or leave it out`},
		{"value behind a pointer missing", "init: ~", `f:1: field "init": is empty: write a value, or leave it out`},
		{"unmarshaler without a value", "authKey:", `f:1: field "authKey": is empty: write a value, or leave it out`},
		{"anchor", "hostname: &a x", `f:1: field "hostname": anchors and aliases are not supported: write the value out`},
		{"merge", "labels: {<<: {a: b}}", `f:1: field "labels": merge keys (<<) are not supported: write the fields out`},
		{"complex key", "? [a]\n: b", `f:1: a field name is plain text`},
		{"tag", "hostname: !!binary aGk=", `f:1: field "hostname": explicit tags (!!binary) are not supported`},
		{"two documents", "version: 1\n---\nversion: 2", "f:2: a second document begins here; keep one per file"},
		{"syntax", "version: 1\nhostname: [a", "f:2: did not find expected ',' or ']'"},
		{"bad indentation far below", "version: 1\nport: 2\nlabels:\n  a: b\n hostname: x\ninit: true", "f:5: did not find expected key"},
		{"tab", "labels:\n\ta: b", "f:2: found character that cannot start any token (a tab used for indentation?)"},
		{"several", "hostname: [a]\nport: x\nvresion: 1", `f:1: field "hostname": want text, have a list
f:2: field "port": want a whole number from 0 to 65535, have text
f:3: field "vresion": unknown (did you mean "version"?)`},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := Decode("f", []byte(c.in), new(config))
			if err == nil {
				t.Fatal("accepted")
			}
			if err.Error() != c.want {
				t.Errorf("got  %s\nwant %s", err, c.want)
			}
		})
	}
}

func TestErrorsKeepSecrets(t *testing.T) {
	for _, in := range []string{"port: hskey-1", "init: hskey-1", "wait: hskey-1", "authKey: hskey-1", "servers: hskey-1", "version: [hskey-1]", "hostname: {a: hskey-1"} {
		err := Decode("f", []byte(in), new(config))
		if err == nil || strings.Contains(err.Error(), "hskey") {
			t.Errorf("%s: %v", in, err)
		}
	}
}

func TestErrorf(t *testing.T) {
	d, err := Parse("f", []byte("hostname: x\nservers:\n- host: a\n- host: b\n"))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		path []string
		want string
	}{
		{nil, "f:1: is bad"},
		{[]string{"servers", "1", "host"}, `f:4: field "servers[1].host": is bad`},
		{[]string{"servers", "1", "port"}, `f:4: field "servers[1].port": is bad`},
		{[]string{"labels", "a"}, `f:1: field "labels.a": is bad`},
	} {
		if got := d.Errorf(c.path, "is %s", "bad").Error(); got != c.want {
			t.Errorf("got %s, want %s", got, c.want)
		}
	}
}

// FuzzDecode: it never panics, and what is accepted is accepted again after yaml itself has written
// it.
func FuzzDecode(f *testing.F) {
	for _, s := range []string{"", "version: 1", "servers: [{host: a}]", "a: &b c\nd: *b", "? [x]\n: y", "- a", "extra: {a: {b: [1, 2.5, ~]}}", "\xef\xbb\xbfport: 1\r\n", "wait: 1h", "!!map {a: b}", "--- a\n--- b", "labels: {<<: x}"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var c config
		err := Decode("f", data, &c)
		if err != nil {
			var ps Problems
			if !errors.As(err, &ps) || len(ps) == 0 {
				t.Fatalf("%T: %v", err, err)
			}
			return
		}
		out, err := yaml.Marshal(c.Servers)
		if err != nil {
			t.Fatal(err)
		}
		var again []server
		if err := Decode("f", out, &again); err != nil {
			t.Fatalf("%v in\n%s", err, out)
		}
	})
}
