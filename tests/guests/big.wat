;; Writes as many megabytes (2^20 bytes) as argv[1] says to standard output. Every 8 bytes are the
;; little-endian number of the eight so far, so that whatever is lost, doubled or moved shows.
(module
  (import "wasi_snapshot_preview1" "args_get" (func $args_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write"
    (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
  (memory (export "memory") 18)

  (func $number (param $text i32) (result i32)
    (local $digit i32)
    (local $sum i32)
    (block $end
      (loop $next
        (local.set $digit (i32.sub (i32.load8_u (local.get $text)) (i32.const 48)))
        (br_if $end (i32.gt_u (local.get $digit) (i32.const 9)))
        (local.set $sum
          (i32.add (i32.mul (local.get $sum) (i32.const 10)) (local.get $digit)))
        (local.set $text (i32.add (local.get $text) (i32.const 1)))
        (br $next)))
    (local.get $sum))

  ;; Writes the megabyte at 65536.
  (func $write
    (local $at i32)
    (local $left i32)
    (local.set $at (i32.const 65536))
    (local.set $left (i32.const 1048576))
    (loop $rest
      (i32.store (i32.const 0) (local.get $at))
      (i32.store (i32.const 4) (local.get $left))
      (if (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8))
        (then (call $proc_exit (i32.const 1))))
      (local.set $at (i32.add (local.get $at) (i32.load (i32.const 8))))
      (local.set $left (i32.sub (local.get $left) (i32.load (i32.const 8))))
      (br_if $rest (local.get $left))))

  (func (export "_start")
    (local $megabytes i32)
    (local $at i32)
    (local $count i64)
    (drop (call $args_get (i32.const 16) (i32.const 4096)))
    (local.set $megabytes (call $number (i32.load (i32.const 20))))
    (block $done
      (loop $megabyte
        (br_if $done (i32.eqz (local.get $megabytes)))
        (local.set $at (i32.const 65536))
        (loop $fill
          (i64.store (local.get $at) (local.get $count))
          (local.set $count (i64.add (local.get $count) (i64.const 1)))
          (local.set $at (i32.add (local.get $at) (i32.const 8)))
          (br_if $fill (i32.lt_u (local.get $at) (i32.const 1114112))))
        (call $write)
        (local.set $megabytes (i32.sub (local.get $megabytes) (i32.const 1)))
        (br $megabyte)))))
