;; Grows its memory a megabyte (2^20 bytes) at a time, writes to each page, and aborts when `memory.grow` fails, as a
;; program does that has no use for a failed allocation. At 3 GiB it stops, and exits with 9.
(module
  (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
  (memory (export "memory") 1)

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

  (func $allocate (result i32)
    (local $page i32)
    (local.set $page (memory.grow (i32.const 16)))
    (if (i32.eq (local.get $page) (i32.const -1)) (then unreachable))
    (local.get $page))

  (func (export "_start")
    (loop $more
      (call $touch (call $allocate))
      (br_if $more (i32.lt_u (memory.size) (i32.const 49152))))
    (call $proc_exit (i32.const 9))))
