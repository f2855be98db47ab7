;; Exits with the code that argv[1] gives in decimal; with 0 without an argument.
(module
  (import "wasi_snapshot_preview1" "args_sizes_get"
    (func $args_sizes_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "args_get" (func $args_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
  (memory (export "memory") 2)

  ;; The number at `text`, up to the first byte that is no digit.
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
    (drop (call $args_sizes_get (i32.const 0) (i32.const 4)))
    (if (i32.lt_u (i32.load (i32.const 0)) (i32.const 2)) (then (return)))
    ;; Pointers from 16 on, their strings from 65536 on.
    (drop (call $args_get (i32.const 16) (i32.const 65536)))
    (call $proc_exit (call $number (i32.load (i32.const 20))))))
