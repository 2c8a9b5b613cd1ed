package gate

import "sync"

// knowledge is what scripts are compared with: the models by modelName, the tools by name.
type knowledge struct {
	models map[string]*Model
	tools  map[string]*tool
}

var builtin = sync.OnceValue(func() *knowledge {
	k, err := newKnowledge(modelsYAML, recordedText, templatesYAML)
	if err != nil {
		panic(err) // impossible: a test reads the embedded files
	}
	return k
})

func newKnowledge(models []byte, recorded string, templates []byte) (*knowledge, error) {
	m, err := parseModels(models, recorded)
	if err != nil {
		return nil, err
	}
	t, err := parseTemplates(templates)
	if err != nil {
		return nil, err
	}
	return &knowledge{m, t}, nil
}
