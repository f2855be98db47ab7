# `make demo` shows it, `make test` proves it. Run `make help` for the rest.

PREFIX ?= /usr/local
DESTDIR ?=
CARGO ?= cargo
STAGE := target/stage
TESTS := lighter-tests

# The tests that need cgroup v2 and its like run in virtual machines, which are made of Debian's packages; with VM=0 they run on
# this one, as far as it has what they need.
VM ?= $(if $(shell command -v apt-get),1,0)

# Where rustup puts cargo, for a shell that began before it was installed.
export PATH := $(PATH):$(HOME)/.cargo/bin
export CARGO_TERM_PROGRESS_WHEN ?= auto

# The tests start containers: as root, while everything is built as whoever runs make.
ifneq ($(shell id -u),0)
AS_ROOT := --config 'target."cfg(unix)".runner = ["sudo", "--preserve-env"]'
endif

.PHONY: help build probe guests languages soak nerdctl test unit e2e vm vm-uml vm-frontends vm-test lint fmt demo bench pieces install setup clean

help:
	@echo 'make demo     run a WebAssembly container under a private containerd, and clean up'
	@echo 'make test     check everything'
	@echo 'make build    build the three programs into $(STAGE)'
	@echo 'make guests   build and fetch the guests that the tests run'
	@echo 'make languages  ask HTTP servers in C and JavaScript, too: their tools are large'
	@echo 'make soak     ask one HTTP server for ten minutes (SOAK=seconds, or REQUESTS=), and see that it does not grow'
	@echo 'make unit     run the tests of each crate        make e2e T=NAME  run the end-to-end tests'
	@echo 'make vm       run the tests that need cgroup v2, AppArmor or systemd, in virtual machines (make test VM=0: here, or not)'
	@echo 'make vm-test  run those and all other end-to-end tests in virtual machines'
	@echo 'make bench    measure beside runc, crun and a peer (QUICK=1: few samples; QUESTIONS="start memory"; OUT=a directory)'
	@echo 'make pieces   time the pieces of a start, each by itself (PIECE=a part of their names)'
	@echo 'make lint     check style and lints              make fmt         format the code'
	@echo 'make install  install into $$DESTDIR$$PREFIX         make clean       remove target'

# Of these two, each container has a process: small code and few pages to itself are memory and start time. They bring the C
# library in their own file, since what its loader writes to is each process's, and so is its time. A target that is named keeps
# these flags from what runs during the build, which is built once for all programs; they follow those of whoever builds.
# `getrandom` would look for the system call by the name of a function, and such a file has no names.
TRIPLE = $(shell PATH='$(PATH)' rustc --print host-tuple)
RESIDENT = CARGO_PROFILE_RELEASE_LTO=fat CARGO_PROFILE_RELEASE_CODEGEN_UNITS=1 \
    RUSTFLAGS="$$RUSTFLAGS -C target-feature=+crt-static --cfg getrandom_backend=\"linux_getrandom\""

# Three invocations: together, cargo would link the compiler into the programs that must not have it. The shim has a fixed address and
# small code, which was measured to be no slower. It unwinds: a call that panics is answered with an error, and the pod lives on.
build:
	@case $$(cc -print-file-name=libc.a) in */*) ;; *) echo 'make: there is no static C library: install' \
	    'libc6-dev (Debian, Ubuntu) or glibc-static (Fedora, Rocky)' >&2; exit 1 ;; esac
	$(CARGO) build --release -p lighter
	$(RESIDENT) CARGO_PROFILE_RELEASE_OPT_LEVEL=s $(CARGO) rustc --release --target $(TRIPLE) -p containerd-shim-wasmtime-v1 -- -C relocation-model=static
	$(RESIDENT) CARGO_PROFILE_RELEASE_PANIC=abort $(CARGO) build --release --target $(TRIPLE) -p lighter-runner
	@mkdir -p $(STAGE)
	@# By rename, so that a program that runs is replaced rather than overwritten.
	@for program in release/lighter $(TRIPLE)/release/containerd-shim-wasmtime-v1 $(TRIPLE)/release/lighter-runner; do \
	    cp target/$$program $(STAGE)/.new && mv $(STAGE)/.new $(STAGE)/$${program##*/} || exit 1; \
	done

# What the end-to-end tests put in the runner's place. It is built as with the runner's tests, and so but once.
probe:
	$(CARGO) build --release -p lighter-runner --example probe

setup:
	hack/setup $(if $(filter 0,$(VM)),test,vm)

guests:
	hack/guests

# Servers in languages whose tools are large, or slow to get, are asked as those of `make test` are.
languages:
	hack/guests more
	LIGHTER_GUESTS=more $(CARGO) test --release $(AS_ROOT) -p $(TESTS) -- http::languages

# One HTTP server, asked as fast as it answers, for so many seconds or REQUESTS: what it holds must not grow.
SOAK ?= 600
soak: build guests
	LIGHTER_SOAK=$(SOAK) LIGHTER_SOAK_REQUESTS=$(REQUESTS) $(CARGO) test --release $(AS_ROOT) -p $(TESTS) -- http::soak

nerdctl:
	hack/nerdctl

test: setup lint build guests unit probe e2e $(if $(filter 0,$(VM)),,vm)

unit:
	$(CARGO) test --release $(AS_ROOT) -p lighter
	$(CARGO) test --release $(AS_ROOT) -p containerd-shim-wasmtime-v1
	$(CARGO) test --release $(AS_ROOT) -p lighter-runner

# `make e2e T=smoke` runs those with "smoke" in their names.
e2e: export LIGHTER_CGROUP ?= $(if $(filter 0,$(VM)),$(if $(wildcard /sys/fs/cgroup/cgroup.controllers),v2))
e2e:
	$(CARGO) test --release $(AS_ROOT) -p $(TESTS) -- $(T)

# In virtual machines: built here, run there.
comma := ,
IN_VM = --config 'target."cfg(unix)".runner = ["$(CURDIR)/hack/vm/run", $(1)]'

# The tests that need a machine of some kind. User Mode Linux has cgroup v2, and no Landlock; Debian's own kernel all
# controllers, several processors, Landlock, AppArmor and NAT; and systemd makes control groups where it is init. Docker and
# nerdctl are driven in the first, and what their networks need of NAT in the second.
vm: export LIGHTER_TESTS := special
vm: nerdctl
	$(CARGO) test --release -p $(TESTS) --no-run
	@# One machine of this kind has one processor; each prints what it has to say when it is done.
	$(MAKE) --jobs 2 --output-sync=target vm-uml vm-frontends
	LIGHTER_CGROUP=full LIGHTER_LSM=apparmor LIGHTER_FRONTENDS=nat \
	    $(CARGO) test --release -p $(TESTS) $(call IN_VM,"-t"$(comma) "1200"$(comma) "--qemu") -- $(T)
	LIGHTER_CGROUP=systemd $(CARGO) test --release -p $(TESTS) $(call IN_VM,"--systemd") -- $(T)
	$(CARGO) test --release -p lighter --test scopes $(call IN_VM,"--systemd") -- --ignored --test-threads 1 $(T)

vm-uml vm-frontends: export LIGHTER_CGROUP := v2
vm-uml vm-frontends: export LIGHTER_LANDLOCK := none
vm-uml: export LIGHTER_TESTS := special
vm-frontends: export LIGHTER_TESTS := frontends
vm-frontends: export LIGHTER_FRONTENDS := docker,nerdctl
vm-uml vm-frontends:
	$(CARGO) test --release -p $(TESTS) $(call IN_VM,"-t"$(comma) "1500"$(comma) "--") -- $(T)

# All the others there, too, as on this machine: with cgroup v2, and without Landlock.
vm-test: vm
	LIGHTER_TESTS=machine LIGHTER_LANDLOCK=none $(CARGO) test --release -p $(TESTS) $(call IN_VM,"-t"$(comma) "1800"$(comma) "--") -- $(T)

lint:
	$(CARGO) fmt --all --check
	$(CARGO) clippy --release --all-targets -p lighter -- -D warnings
	$(CARGO) clippy --release --all-targets -p containerd-shim-wasmtime-v1 -- -D warnings
	$(CARGO) clippy --release --all-targets -p lighter-runner -- -D warnings
	$(CARGO) clippy --release --all-targets -p $(TESTS) -- -D warnings

fmt:
	$(CARGO) fmt --all

demo:
	@hack/demo

# Measures beside others; see benches/README.md. Two workspaces of their own, as each pins other versions.
BENCH := target/bench
OUT ?= $(BENCH)/report
bench: build
	hack/guests
	hack/wasmtime $(BENCH)/wasmtime
	cd benches && CARGO_TARGET_DIR=$(CURDIR)/$(BENCH) $(CARGO) build --release --locked -p lighter-benches -p lighter-bench-http -p containerd-shim-noop-v1
	cd benches/peer && CARGO_TARGET_DIR=$(CURDIR)/$(BENCH) $(CARGO) build --release --locked
	$(if $(filter 0,$(shell id -u)),,sudo --preserve-env=PATH) $(BENCH)/release/lighter-benches $(if $(QUICK),--quick) --out $(OUT) $(QUESTIONS)

# With Criterion; as root, since sandboxes are entered.
pieces: build
	hack/guests
	cd benches && CARGO_TARGET_DIR=$(CURDIR)/$(BENCH) $(CARGO) build --release --locked -p lighter-bench-pieces
	$(if $(filter 0,$(shell id -u)),,sudo) CARGO_TARGET_DIR=$(BENCH) $(BENCH)/release/lighter-bench-pieces --bench $(PIECE)

COMPLETIONS := bash-completion/completions/lighter zsh/site-functions/_lighter fish/vendor_completions.d/lighter.fish
install: build
	install -d $(DESTDIR)$(PREFIX)/bin
	install -m 755 $(STAGE)/containerd-shim-wasmtime-v1 $(STAGE)/lighter-runner $(STAGE)/lighter $(DESTDIR)$(PREFIX)/bin
	$(STAGE)/lighter man $(DESTDIR)$(PREFIX)/share/man/man1
	@# Where each shell looks, under the name that it looks for.
	install -d $(addprefix $(DESTDIR)$(PREFIX)/share/,$(dir $(COMPLETIONS)))
	$(STAGE)/lighter completions bash >$(DESTDIR)$(PREFIX)/share/$(word 1,$(COMPLETIONS))
	$(STAGE)/lighter completions zsh >$(DESTDIR)$(PREFIX)/share/$(word 2,$(COMPLETIONS))
	$(STAGE)/lighter completions fish >$(DESTDIR)$(PREFIX)/share/$(word 3,$(COMPLETIONS))

clean:
	$(CARGO) clean
