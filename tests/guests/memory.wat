;; Grows its memory to as many megabytes (2^20 bytes) as argv[1] says, a megabyte at a time, and writes to each page.
;; Prints `grown` when it has them all; exits with 9 when `memory.grow` fails.
(module
  (import "wasi_snapshot_preview1" "args_get" (func $args_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write"
    (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
  (memory (export "memory") 16)
  (data (i32.const 0) "\10\00\00\00\06\00\00\00")   ;; iovec: 6 bytes at 16
  (data (i32.const 16) "grown\n")

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

  ;; Writes to each 4 KiB page of the megabyte that begins at wasm page `page`.
  (func $touch (param $page i32)
    (local $at i32)
    (local $left i32)
    (local.set $at (i32.mul (local.get $page) (i32.const 65536)))
    (local.set $left (i32.const 256))
    (loop $next
      (i32.store (local.get $at) (i32.const 1))
      (local.set $at (i32.add (local.get $at) (i32.const 4096)))
      (local.set $left (i32.sub (local.get $left) (i32.const 1)))
      (br_if $next (local.get $left))))

  (func (export "_start")
    (local $wanted i32)
    (local $page i32)
    (drop (call $args_get (i32.const 1024) (i32.const 65536)))
    (local.set $wanted (i32.mul (call $number (i32.load (i32.const 1028))) (i32.const 16)))
    (block $done
      (loop $more
        (br_if $done (i32.ge_u (memory.size) (local.get $wanted)))
        (local.set $page (memory.grow (i32.const 16)))
        (if (i32.eq (local.get $page) (i32.const -1)) (then (call $proc_exit (i32.const 9))))
        (call $touch (local.get $page))
        (br $more)))
    (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))))
