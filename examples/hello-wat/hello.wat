;; The smallest useful guest, in WebAssembly's text form: needs no compiler. `make demo` runs it.
(module
  (import "wasi_snapshot_preview1" "fd_write"
    (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)

  ;; What `fd_write` is given: one piece of text, its address and its length.
  (data (i32.const 0) "\10\00\00\00\24\00\00\00")
  (data (i32.const 16) "Hello from a WebAssembly container.\n")

  (func (export "_start")
    (drop
      (call $fd_write
        (i32.const 1)     ;; to standard output
        (i32.const 0)     ;; the pieces of text,
        (i32.const 1)     ;; of which there is one
        (i32.const 8))))) ;; where to put the number of bytes written
