;; Writes `napping`, sleeps for as many seconds as argv[1] says, writes `awake`, exits with the code argv[2].
(module
  (import "wasi_snapshot_preview1" "args_get" (func $args_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write"
    (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "poll_oneoff"
    (func $poll_oneoff (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
  (memory (export "memory") 2)
  (data (i32.const 0) "\10\00\00\00\08\00\00\00")   ;; iovec: 8 bytes at 16
  (data (i32.const 16) "napping\n")
  (data (i32.const 32) "\30\00\00\00\06\00\00\00")  ;; iovec: 6 bytes at 48
  (data (i32.const 48) "awake\n")

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

  (func (export "_start")
    (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
    (drop (call $args_get (i32.const 1024) (i32.const 65536)))
    ;; One subscription at 128: tag 0 (clock) at 8, clock 1 (monotonic) at 16, timeout in ns at 24.
    (i32.store (i32.const 144) (i32.const 1))
    (i64.store (i32.const 152)
      (i64.mul
        (i64.extend_i32_u (call $number (i32.load (i32.const 1028))))
        (i64.const 1000000000)))
    (if (call $poll_oneoff (i32.const 128) (i32.const 256) (i32.const 1) (i32.const 512))
      (then (call $proc_exit (i32.const 99))))
    (drop (call $fd_write (i32.const 1) (i32.const 32) (i32.const 1) (i32.const 8)))
    (call $proc_exit (call $number (i32.load (i32.const 1032))))))
