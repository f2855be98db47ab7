;; A server that keeps all it can of one request, and looks for it in the next, in everything that an instance has: memory, table,
;; globals, and segments. For each of 1 MiB to 64 MiB, a digit N from 0 to 6:
;;
;; /hN   fills memory of that size, the table and the globals    /tN   does so, and traps    /lN   does so, and never ends
;; /sN   answers how much of memory of that size, of the table and the globals is not as in a new instance
;; /iN   uses the segments, and traps if they are gone
(module
  (type $set (func (param i32 i32 i32 i32 i64 i32 i32 i32 i32)))
  (import "wasi:http/types@0.2.10" "[method]incoming-request.path-with-query" (func $path (param i32 i32)))
  (import "wasi:http/types@0.2.10" "[constructor]fields" (func $fields (result i32)))
  (import "wasi:http/types@0.2.10" "[constructor]outgoing-response" (func $response (param i32) (result i32)))
  (import "wasi:http/types@0.2.10" "[method]outgoing-response.body" (func $body (param i32 i32)))
  (import "wasi:http/types@0.2.10" "[static]response-outparam.set" (func $set (type $set)))
  (import "wasi:http/types@0.2.10" "[method]outgoing-body.write" (func $stream (param i32 i32)))
  (import "wasi:http/types@0.2.10" "[static]outgoing-body.finish" (func $finish (param i32 i32 i32 i32)))
  (import "wasi:io/streams@0.2.10" "[method]output-stream.blocking-write-and-flush"
    (func $write (param i32 i32 i32 i32)))
  (import "wasi:io/streams@0.2.10" "[resource-drop]output-stream" (func $close (param i32)))

  ;; Up to 8192 are what the calls need: the path at 1024, results at 2048, the answer's text before 3072.
  (memory (export "memory") 16)
  (data (i32.const 4096) "as it was")
  ;; In a page that nobody else writes to.
  (data (i32.const 200000) "as it was")
  (data $passive "passive")
  (table $table 100 5000 funcref)
  (elem $element func $spin)
  (global $integer (mut i64) (i64.const 7))
  (global $reference (mut funcref) (ref.null func))

  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
    ;; Once, for the path, which is short.
    (i32.const 1024))

  (func $spin (loop $on (br $on)))

  ;; Memory of 1 MiB and more, as the digit says, and the table as large as it may be. What it had of both stays.
  (func $take (param $digit i32)
    (local $pages i32)
    (local.set $pages
      (i32.sub (i32.shl (i32.const 16) (local.get $digit)) (memory.size)))
    (if (i32.gt_s (local.get $pages) (i32.const 0))
      (then (if (i32.eq (memory.grow (local.get $pages)) (i32.const -1)) (then unreachable))))
    (drop (table.grow $table (ref.null func) (i32.sub (i32.const 5000) (table.size $table)))))

  (func $hide
    (local $at i32)
    (local.set $at (i32.const 4096))
    (loop $next
      (i64.store (local.get $at) (i64.const 0x5ec2e75ec2e75ec2))
      (local.set $at (i32.add (local.get $at) (i32.const 8)))
      (br_if $next (i32.lt_u (local.get $at) (i32.shl (memory.size) (i32.const 16)))))
    (table.fill $table (i32.const 0) (ref.func $spin) (table.size $table))
    (global.set $integer (i64.const 0x5ec2e75ec2e75ec2))
    (global.set $reference (ref.func $spin))
    (data.drop $passive)
    (elem.drop $element))

  ;; 1 if there is something else than zero.
  (func $word (param $at i32) (result i32)
    (i64.ne (i64.load (local.get $at)) (i64.const 0)))

  ;; 1 if a segment has been written over: it begins with "as it was".
  (func $segment (param $at i32) (result i32)
    (i32.or
      (i64.ne (i64.load (local.get $at)) (i64.const 0x6177207469207361))
      (i64.ne (i64.load (i32.add (local.get $at) (i32.const 8))) (i64.const 0x73))))

  (func $search (result i32)
    (local $at i32) (local $found i32)
    (local.set $found
      (i32.add (call $segment (i32.const 4096)) (call $segment (i32.const 200000))))
    (local.set $at (i32.const 4112))
    (loop $next
      ;; The segment in the middle has been counted.
      (if (i32.ne (i32.and (local.get $at) (i32.const -16)) (i32.const 200000))
        (then (local.set $found (i32.add (local.get $found) (call $word (local.get $at))))))
      (local.set $at (i32.add (local.get $at) (i32.const 8)))
      (br_if $next (i32.lt_u (local.get $at) (i32.shl (memory.size) (i32.const 16)))))
    (local.set $at (i32.const 0))
    (loop $next
      (local.set $found
        (i32.add (local.get $found)
          (i32.eqz (ref.is_null (table.get $table (local.get $at))))))
      (local.set $at (i32.add (local.get $at) (i32.const 1)))
      (br_if $next (i32.lt_u (local.get $at) (table.size $table))))
    (local.set $found
      (i32.add (local.get $found) (i64.ne (global.get $integer) (i64.const 7))))
    (local.set $found
      (i32.add (local.get $found) (i32.eqz (ref.is_null (global.get $reference)))))
    (local.get $found))

  ;; Both trap if the segment was dropped.
  (func $segments
    (memory.init $passive (i32.const 2100) (i32.const 0) (i32.const 7))
    (table.init $table $element (i32.const 0) (i32.const 0) (i32.const 1)))

  (func $answer (param $out i32) (param $number i32)
    (local $response i32) (local $body i32) (local $stream i32) (local $text i32)
    (local.set $text (i32.const 3072))
    (loop $digit
      (local.set $text (i32.sub (local.get $text) (i32.const 1)))
      (i32.store8 (local.get $text)
        (i32.add (i32.const 48) (i32.rem_u (local.get $number) (i32.const 10))))
      (local.set $number (i32.div_u (local.get $number) (i32.const 10)))
      (br_if $digit (local.get $number)))
    (local.set $response (call $response (call $fields)))
    (call $body (local.get $response) (i32.const 2048))
    (local.set $body (i32.load (i32.const 2052)))
    (call $set (local.get $out) (i32.const 0) (local.get $response)
      (i32.const 0) (i64.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0))
    (call $stream (local.get $body) (i32.const 2048))
    (local.set $stream (i32.load (i32.const 2052)))
    (call $write (local.get $stream) (local.get $text)
      (i32.sub (i32.const 3072) (local.get $text)) (i32.const 2048))
    (call $close (local.get $stream))
    (call $finish (local.get $body) (i32.const 0) (i32.const 0) (i32.const 2048)))

  (func (export "wasi:http/incoming-handler@0.2.10#handle") (param $request i32) (param $out i32)
    (local $verb i32)
    (call $path (local.get $request) (i32.const 2048))
    (local.set $verb (i32.load8_u (i32.const 1025)))
    (call $take (i32.sub (i32.load8_u (i32.const 1026)) (i32.const 48)))
    (if (i32.eq (local.get $verb) (i32.const 115))
      (then
        (call $answer (local.get $out) (call $search))
        (return)))
    (if (i32.eq (local.get $verb) (i32.const 105))
      (then
        (call $segments)
        (call $answer (local.get $out) (i32.const 0))
        (return)))
    (call $hide)
    (if (i32.eq (local.get $verb) (i32.const 116)) (then unreachable))
    (if (i32.eq (local.get $verb) (i32.const 108)) (then (call $spin)))
    (call $answer (local.get $out) (i32.shl (memory.size) (i32.const 16)))))
