;; Writes a line to standard output and another to standard error.
(module
  (import "wasi_snapshot_preview1" "fd_write"
    (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "\10\00\00\00\04\00\00\00")   ;; iovec: 4 bytes at 16
  (data (i32.const 16) "out\n")
  (data (i32.const 32) "\30\00\00\00\04\00\00\00")  ;; iovec: 4 bytes at 48
  (data (i32.const 48) "err\n")
  (func (export "_start")
    (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
    (drop (call $fd_write (i32.const 2) (i32.const 32) (i32.const 1) (i32.const 8)))))
