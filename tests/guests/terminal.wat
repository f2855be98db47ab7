;; Writes the file types that WASI reports for descriptors 0, 1 and 2 (a terminal's is 2, a character device), then copies
;; standard input to standard output until its end, then writes `end`.
(module
  (import "wasi_snapshot_preview1" "fd_fdstat_get"
    (func $fd_fdstat_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_read"
    (func $fd_read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write"
    (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
  (memory (export "memory") 2)
  (data (i32.const 128) "types 012\n")
  (data (i32.const 160) "end\n")

  (func $write (param $text i32) (param $length i32)
    (i32.store (i32.const 0) (local.get $text))
    (i32.store (i32.const 4) (local.get $length))
    (if (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8))
      (then (call $proc_exit (i32.const 1)))))

  (func $show_type (param $fd i32)
    (if (call $fd_fdstat_get (local.get $fd) (i32.const 64))
      (then (call $proc_exit (i32.const 2))))
    (i32.store8 (i32.add (i32.const 134) (local.get $fd))
      (i32.add (i32.const 48) (i32.load8_u (i32.const 64)))))

  (func (export "_start")
    (call $show_type (i32.const 0))
    (call $show_type (i32.const 1))
    (call $show_type (i32.const 2))
    (call $write (i32.const 128) (i32.const 10))
    (block $done
      (loop $more
        (i32.store (i32.const 0) (i32.const 65536))
        (i32.store (i32.const 4) (i32.const 65536))
        (if (call $fd_read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8))
          (then (call $proc_exit (i32.const 3))))
        (br_if $done (i32.eqz (i32.load (i32.const 8))))
        (call $write (i32.const 65536) (i32.load (i32.const 8)))
        (br $more)))
    (call $write (i32.const 160) (i32.const 4))))
