# `make demo` shows it, `make test` proves it. Run `make help` for the rest.

PREFIX ?= /usr/local
DESTDIR ?=
CARGO ?= cargo
STAGE := target/stage
TESTS := lighter-tests

# The tests that need cgroup v2 run on this machine if it has it, and with VM=1 in a virtual machine.
VM ?= 0

# Where rustup puts cargo, for a shell that began before it was installed.
export PATH := $(PATH):$(HOME)/.cargo/bin
export CARGO_TERM_PROGRESS_WHEN ?= auto

# The tests start containers: as root, while everything is built as whoever runs make.
ifneq ($(shell id -u),0)
AS_ROOT := --config 'target."cfg(unix)".runner = ["sudo", "--preserve-env"]'
endif

.PHONY: help build probe guests test unit e2e vm-test lint fmt demo install setup clean

help:
	@echo 'make demo     run a WebAssembly container under a private containerd, and clean up'
	@echo 'make test     check everything'
	@echo 'make build    build the three programs into $(STAGE)'
	@echo 'make guests   build and fetch the guests that the tests run'
	@echo 'make unit     run the tests of each crate        make e2e T=NAME  run the end-to-end tests'
	@echo 'make vm-test  run the end-to-end tests in a virtual machine that has cgroup v2 (also: make test VM=1)'
	@echo 'make lint     check style and lints              make fmt         format the code'
	@echo 'make install  install into $$DESTDIR$$PREFIX/bin     make clean       remove target'

# Three invocations: together, cargo would link the compiler into the programs that must not have it.
build:
	$(CARGO) build --release -p lighter
	$(CARGO) build --release -p containerd-shim-wasmtime-v1
	$(CARGO) build --profile runner -p lighter-runner
	@mkdir -p $(STAGE)
	@# By rename, so that a program that runs is replaced rather than overwritten.
	@for program in release/lighter release/containerd-shim-wasmtime-v1 runner/lighter-runner; do \
	    cp target/$$program $(STAGE)/.new && mv $(STAGE)/.new $(STAGE)/$${program##*/} || exit 1; \
	done

# What the end-to-end tests put in the runner's place. It is built as with the runner's tests, and so but once.
probe:
	$(CARGO) build --release -p lighter-runner --example probe

setup:
	hack/setup $(if $(filter 0,$(VM)),test,vm)

guests:
	hack/guests

test: setup lint build guests unit probe e2e $(if $(filter 0,$(VM)),,vm-test)

unit:
	$(CARGO) test --release $(AS_ROOT) -p lighter
	$(CARGO) test --release $(AS_ROOT) -p containerd-shim-wasmtime-v1
	$(CARGO) test --release $(AS_ROOT) -p lighter-runner

# `make e2e T=smoke` runs those with "smoke" in their names.
e2e: export LIGHTER_CGROUP ?= $(if $(filter 0,$(VM)),$(if $(wildcard /sys/fs/cgroup/cgroup.controllers),v2))
e2e:
	$(CARGO) test --release $(AS_ROOT) -p $(TESTS) -- $(T)

# The same tests and more: built here, run there.
vm-test: IN_VM = $(CARGO) test --release -p $(TESTS) --config 'target."cfg(unix)".runner = ["$(CURDIR)/hack/vm/run", $(1)]'
vm-test:
	@# User Mode Linux has no Landlock, Debian's kernel has it and AppArmor.
	LIGHTER_CGROUP=v2 LIGHTER_LANDLOCK=none $(call IN_VM,"--") -- $(T)
	$(if $(filter-out apparmor%,$(T)),,LIGHTER_LSM=apparmor $(call IN_VM,"--qemu") -- $(or $(T),apparmor::))
	$(if $(filter-out systemd%,$(T)),,LIGHTER_CGROUP=systemd $(call IN_VM,"--systemd") -- $(or $(T),systemd::))
	$(if $(filter-out scopes%,$(T)),,$(subst $(TESTS),lighter --test scopes,$(call IN_VM,"--systemd")) -- --ignored --test-threads 1)

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

install: build
	install -d $(DESTDIR)$(PREFIX)/bin
	install -m 755 $(STAGE)/containerd-shim-wasmtime-v1 $(STAGE)/lighter-runner $(STAGE)/lighter $(DESTDIR)$(PREFIX)/bin

clean:
	$(CARGO) clean
