;; For each `+` on its standard input grows its memory by 8 MiB (2^23 bytes), writes to each page, and prints `grown`; or
;; `refused` when `memory.grow` fails. For each `!` grows likewise, and aborts when that fails. Ends with its input.
(module
  (import "wasi_snapshot_preview1" "fd_read"
    (func $fd_read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write"
    (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 16)
  (data (i32.const 0) "\10\00\00\00\06\00\00\00")   ;; iovec: 6 bytes at 16
  (data (i32.const 16) "grown\n")
  (data (i32.const 32) "\30\00\00\00\08\00\00\00")  ;; iovec: 8 bytes at 48
  (data (i32.const 48) "refused\n")
  (data (i32.const 64) "\50\00\00\00\01\00\00\00")  ;; iovec: 1 byte at 80

  ;; Writes to each 4 KiB page of the 8 MiB that begin at wasm page `page`.
  (func $touch (param $page i32)
    (local $at i32)
    (local $left i32)
    (local.set $at (i32.mul (local.get $page) (i32.const 65536)))
    (local.set $left (i32.const 2048))
    (loop $next
      (i32.store (local.get $at) (i32.const 1))
      (local.set $at (i32.add (local.get $at) (i32.const 4096)))
      (local.set $left (i32.sub (local.get $left) (i32.const 1)))
      (br_if $next (local.get $left))))

  (func $say (param $iovec i32)
    (drop (call $fd_write (i32.const 1) (local.get $iovec) (i32.const 1) (i32.const 96))))

  (func (export "_start")
    (local $asked i32)
    (local $page i32)
    (loop $more
      (i32.store (i32.const 96) (i32.const 0))
      (if (call $fd_read (i32.const 0) (i32.const 64) (i32.const 1) (i32.const 96)) (then (return)))
      (if (i32.eqz (i32.load (i32.const 96))) (then (return)))
      (local.set $asked (i32.load8_u (i32.const 80)))
      ;; Neither `+` nor `!`.
      (br_if $more (i32.and (i32.ne (local.get $asked) (i32.const 43))
                            (i32.ne (local.get $asked) (i32.const 33))))
      (local.set $page (memory.grow (i32.const 128)))
      (if (i32.eq (local.get $page) (i32.const -1))
        (then
          (if (i32.eq (local.get $asked) (i32.const 33)) (then unreachable))
          (call $say (i32.const 32)))
        (else
          (call $touch (local.get $page))
          (call $say (i32.const 0))))
      (br $more))))
