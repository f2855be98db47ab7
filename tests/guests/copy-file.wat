;; Writes all of the file that argv[1] names in the first of its preopened directories; exits with 2 if there is none.
(module
  (import "wasi_snapshot_preview1" "args_get" (func $args_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "args_sizes_get"
    (func $args_sizes_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_open"
    (func $path_open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_read"
    (func $fd_read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write"
    (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
  (memory (export "memory") 3)
  (func (export "_start")
    (local $name i32)
    (local $file i32)
    (local $at i32)
    (local $left i32)
    ;; How many arguments, and the bytes of them all.
    (drop (call $args_sizes_get (i32.const 0) (i32.const 4)))
    (drop (call $args_get (i32.const 16) (i32.const 65536)))
    (local.set $name (i32.load (i32.const 20)))
    ;; Two arguments: the name of the file is the rest, without its end.
    (if (call $path_open
          (i32.const 3) (i32.const 1) (local.get $name)
          (i32.sub
            (i32.add (i32.const 65536) (i32.load (i32.const 4)))
            (i32.add (local.get $name) (i32.const 1)))
          (i32.const 0) (i64.const 2) (i64.const 0) (i32.const 0) (i32.const 8))
      (then (call $proc_exit (i32.const 2))))
    (local.set $file (i32.load (i32.const 8)))
    (loop $more
      (i32.store (i32.const 0) (i32.const 131072))
      (i32.store (i32.const 4) (i32.const 65536))
      (if (call $fd_read (local.get $file) (i32.const 0) (i32.const 1) (i32.const 12))
        (then (call $proc_exit (i32.const 3))))
      (local.set $left (i32.load (i32.const 12)))
      (if (i32.eqz (local.get $left)) (then (return)))
      (local.set $at (i32.const 131072))
      (loop $rest
        (i32.store (i32.const 0) (local.get $at))
        (i32.store (i32.const 4) (local.get $left))
        (if (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 12))
          (then (call $proc_exit (i32.const 4))))
        (local.set $at (i32.add (local.get $at) (i32.load (i32.const 12))))
        (local.set $left (i32.sub (local.get $left) (i32.load (i32.const 12))))
        (br_if $rest (local.get $left)))
      (br $more))))
