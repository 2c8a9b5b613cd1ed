# imagebuilder: see README.md. Two commands are enough on a fresh Debian machine
# with Go:  make image BOARD=rpi4   and   make test

BOARD   ?= rpi4
OUT     ?= dist/$(BOARD).img
ARCHES  := amd64 arm64
BOARDS  := rpi3 rpi4 rpi5 optiplex-7050 generic-amd64 generic-arm64
# A version names one content, by equal letters in every clone: changes that are
# in no commit give their digest.
VERSION := $(shell v=$$(git describe --tags --always --abbrev=12 --dirty 2>/dev/null) || v=devel; \
	case $$v in (*-dirty) v=$$v-$$(git diff HEAD | git hash-object --stdin | cut -c 1-8);; esac; echo $$v)
GO      ?= go

# For builds, linters and tests alike: what one of them has compiled the others
# take, in every clone. A cold `make test` compiles all once, not three times.
export CGO_ENABLED := 0
export GOFLAGS := $(strip $(shell $(GO) env GOFLAGS) -trimpath)

# The node's programs are static and reproducible: no paths, no build id.
PAYLOAD_LDFLAGS := -s -w -buildid= -X main.version=$(VERSION)
PAYLOAD_FLAGS   := -trimpath -buildvcs=false -ldflags "$(PAYLOAD_LDFLAGS)"
PAYLOAD_SOURCES := $(shell find firstboot cmd/firstboot cmd/init -name '*.go' -not -name '*_test.go') go.mod go.sum
PAYLOADS        := $(foreach p,firstboot init,$(foreach a,$(ARCHES),image/payload/bin/$(p)-$(a)))
LDFLAGS         := -s -w -X github.com/going-mobile/imagebuilder/image.version=$(VERSION)

.PHONY: build payload image test mutate test-all test-unit test-images test-stories test-node test-vm test-apiserver lint fuzz bench oracle repro powercut sabotage deps clean cross FORCE

build: payload ## bin/imagebuilder, with the node's programs inside
	$(GO) build -ldflags "$(LDFLAGS)" -o bin/imagebuilder ./cmd/imagebuilder

payload: $(PAYLOADS)

bin/.version: FORCE # changes only when the version does
	@mkdir -p bin && echo $(VERSION) | cmp -s - $@ || echo $(VERSION) > $@

image/payload/bin/firstboot-%: $(PAYLOAD_SOURCES) bin/.version
	GOOS=linux GOARCH=$* $(GO) build $(PAYLOAD_FLAGS) -o $@ ./cmd/firstboot

image/payload/bin/init-%: $(PAYLOAD_SOURCES)
	GOOS=linux GOARCH=$* $(GO) build $(PAYLOAD_FLAGS) -o $@ ./cmd/init

image: build ## dist/BOARD.img; needs nothing but Go
	bin/imagebuilder build --board $(BOARD) --out $(OUT)

cross: payload ## the builder itself, for every host it supports
	for t in linux/amd64 linux/arm64 darwin/amd64 darwin/arm64 windows/amd64; do \
	  GOOS=$${t%/*} GOARCH=$${t#*/} $(GO) build -ldflags "$(LDFLAGS)" \
	    -o bin/imagebuilder-$${t%/*}-$${t#*/} ./cmd/imagebuilder || exit 1; done

test: deps build lint test-unit test-images test-node ## what CI runs: about 25 minutes on two quiet cores
test-all: test test-stories test-vm sabotage test-apiserver oracle ## and all that takes longer

# Stories of many boots under emulation: too long for every push, as a Pi is.
# generic-amd64 boots in test-node. Of rebuilds, one of each kind is enough there:
# MBR and arm64, GPT and amd64.
LONG := EveryBoardBoots/(generic-amd64|rpi[34])|AnUnpersonalised|ATrialThat|AnUpdate|APowerCut|ADamaged|ADiskThat|ASecondDisk|ADataDisk|ALonghornDisk|ANodeMounts|AStick|SecureBoot(Starts|Refuses|On)|ABIOS|AnUnsigned|APayload|SameLockSameBytes/(rpi[35]|optiplex-7050|generic-arm64)

test-unit: payload ## packages by themselves; no network but the loopback
	$(GO) test -timeout 30m ./...

test-images: build ## build, judge and rebuild every board, boot two; the command's own tests
	$(GO) test -tags e2e -timeout 60m -count=1 -p 1 -skip '$(LONG)' ./image/e2e ./image/oci ./cmd/imagebuilder ./firstboot/page ./image/headscale

# A machine of a story uses one processor, and a second one now and then.
STORIES ?= $(shell n=$$(nproc); echo $$((n > 5 ? n / 2 : 2)))

test-stories: build ## the other boards to running, trial slots, power cuts, damaged and foreign disks; STORIES=N at a time
	$(GO) test -tags e2e -timeout 240m -count=1 -parallel $(STORIES) -run '$(LONG)' -v ./image/e2e

test-node: build ## a node's first boots next to a real Headscale
	$(GO) test -tags vm -timeout 60m -count=1 -run 'TestJoin/generic-amd64' ./firstboot/vmtest

test-vm: build ## all first-boot stories, all boards; K3S=/path/to/k3s uses a real one
	$(GO) test -tags vm -timeout 240m -count=1 -skip Sabotaged -v ./firstboot/vmtest

test-apiserver: build ## what we make for Kubernetes, judged by a real kube-apiserver; it is compiled first
	cd .ci/apiserver && $(GO) test -timeout 60m -count=1 -v .

sabotage: build ## updates that are bad in 22 ways, and N good ones
	GOOD=$(or $(N),20) $(GO) test -tags vm -timeout 0 -count=1 -run Sabotaged -v ./firstboot/vmtest

powercut: build ## N power cuts at random moments of first boots, and while disks are made
	POWERCUTS=$(or $(N),50) $(GO) test -tags vm -timeout 0 -count=1 -run PowerCut -v ./firstboot/vmtest
	CUTS=$(or $(N),30) $(GO) test -tags e2e -timeout 0 -count=1 -run '(Disk|StickInstall)SurvivesPowerCuts' -v ./image/e2e

repro: build ## two builds from one lock by different users, byte for byte
	$(GO) test -tags e2e -timeout 60m -count=1 -run SameLockSameBytes -v ./image/e2e

oracle: deps build ## our root against really configured packages, our resolver against apt, …
	.ci/oracle

lint: ## formatting, vet, staticcheck, code that nothing reaches, guards that moved, shell scripts
	@out=$$(gofmt -l $$(git ls-files '*.go')); [ -z "$$out" ] || { echo "gofmt: $$out"; exit 1; }
	$(GO) vet ./...
	$(GO) vet -tags 'e2e vm oracle network' ./...
	.ci/lint
	$(GO) vet .ci/mutate/main.go
	$(GO) run .ci/mutate/main.go -check
	shellcheck -x -e SC1091 .ci/run .ci/deps .ci/bench .ci/bench-flash .ci/bench-update .ci/fuzz .ci/lint .ci/oracle .ci/sign

FUZZTIME ?= 60s
fuzz: payload ## every fuzz target for FUZZTIME
	FUZZTIME=$(FUZZTIME) .ci/fuzz

mutate: payload ## break every listed guard in turn: a test must fail
	$(GO) run .ci/mutate/main.go $(if $(ONLY),-only '$(ONLY)')

bench: deps build ## seconds, memory and size as ratios to a reference run beside it
	.ci/bench

deps: ## tools that only the tests need, from Debian
	.ci/deps

clean: ## forget what was built
	rm -rf bin dist $(PAYLOADS)
