# imagebuilder: see README.md. Two commands are enough on a fresh Debian machine
# with Go:  make image BOARD=rpi4   and   make test

BOARD   ?= rpi4
OUT     ?= dist/$(BOARD).img
ARCHES  := amd64 arm64
BOARDS  := rpi4 optiplex-7050 generic-amd64 generic-arm64
VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
GO      ?= go

# The node's programs are static and reproducible: no paths, no build id.
PAYLOAD_LDFLAGS := -s -w -buildid=
PAYLOAD_FLAGS   := -trimpath -buildvcs=false -ldflags "$(PAYLOAD_LDFLAGS)"
PAYLOAD_SOURCES := $(shell find firstboot cmd/firstboot cmd/init -name '*.go' -not -name '*_test.go') go.mod go.sum
PAYLOADS        := $(foreach p,firstboot init,$(foreach a,$(ARCHES),image/payload/bin/$(p)-$(a)))
LDFLAGS         := -s -w -X github.com/going-mobile/imagebuilder/image.version=$(VERSION)

.PHONY: build payload image test test-unit test-vm lint fuzz bench oracle repro powercut deps clean cross

build: payload ## bin/imagebuilder, with the node's programs inside
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags "$(LDFLAGS)" -o bin/imagebuilder ./cmd/imagebuilder

payload: $(PAYLOADS)

image/payload/bin/firstboot-%: $(PAYLOAD_SOURCES)
	CGO_ENABLED=0 GOOS=linux GOARCH=$* $(GO) build $(PAYLOAD_FLAGS) -o $@ ./cmd/firstboot

image/payload/bin/init-%: $(PAYLOAD_SOURCES)
	CGO_ENABLED=0 GOOS=linux GOARCH=$* $(GO) build $(PAYLOAD_FLAGS) -o $@ ./cmd/init

image: build ## dist/BOARD.img; needs nothing but Go
	bin/imagebuilder build --board $(BOARD) --out $(OUT)

cross: payload ## the builder itself, for every host it supports
	for t in linux/amd64 linux/arm64 darwin/amd64 darwin/arm64 windows/amd64; do \
	  CGO_ENABLED=0 GOOS=$${t%/*} GOARCH=$${t#*/} $(GO) build -trimpath -ldflags "$(LDFLAGS)" \
	    -o bin/imagebuilder-$${t%/*}-$${t#*/} ./cmd/imagebuilder || exit 1; done

deps: ## tools that only the tests need, from Debian
	.ci/deps

clean:
	rm -rf bin dist $(PAYLOADS)
