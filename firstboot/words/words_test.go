package words_test

import (
	"reflect"
	"testing"

	"github.com/going-mobile/imagebuilder/firstboot/words"
)

func TestLabelsAreComplete(t *testing.T) {
	for _, l := range words.Languages {
		v := reflect.ValueOf(l.Labels)
		for i := range v.NumField() {
			if v.Field(i).String() == "" {
				t.Errorf("%s: %s is empty", l.Tag, v.Type().Field(i).Name)
			}
		}
	}
}

func TestChoose(t *testing.T) {
	for accept, want := range map[string]string{
		"":                                    "en",
		"*":                                   "en",
		"ja,zh;q=0.5":                         "en",
		"de":                                  "de",
		"de-AT,de;q=0.9,en;q=0.8":             "de",
		"ja, fr-CA;q=0.7, en;q=0.3":           "fr",
		"en;q=0.2,pt-BR;q=0.9":                "pt",
		"ES-419":                              "es",
		"de;q=0,en":                           "en",
		"fr;q=much, es;q=0.1":                 "es",
		"german,de;q=0.1;level=1,pt; q=0.050": "pt",
	} {
		if have := words.Choose(accept).Tag; have != want {
			t.Errorf("%q: %s, want %s", accept, have, want)
		}
	}
}
