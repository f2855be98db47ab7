;; Resolves "probe.test" and returns ok if its first address is 192.0.2.77.
(component
  (import "wasi:io/poll@0.2.0" (instance $poll
    (export "pollable" (type $pollable (sub resource)))
    (export "[method]pollable.block" (func (param "self" (borrow $pollable))))))
  (alias export $poll "pollable" (type $pollable))
  (import "wasi:sockets/network@0.2.0" (instance $net
    (export "network" (type (sub resource)))
    (type $e (enum "unknown" "access-denied" "not-supported" "invalid-argument" "out-of-memory"
      "timeout" "concurrency-conflict" "not-in-progress" "would-block" "invalid-state"
      "new-socket-limit" "address-not-bindable" "address-in-use" "remote-unreachable"
      "connection-refused" "connection-reset" "connection-aborted" "datagram-too-large"
      "name-unresolvable" "temporary-resolver-failure" "permanent-resolver-failure"))
    (export "error-code" (type (eq $e)))
    (type $v4 (tuple u8 u8 u8 u8))
    (export "ipv4-address" (type $ipv4 (eq $v4)))
    (type $v6 (tuple u16 u16 u16 u16 u16 u16 u16 u16))
    (export "ipv6-address" (type $ipv6 (eq $v6)))
    (type $ip (variant (case "ipv4" $ipv4) (case "ipv6" $ipv6)))
    (export "ip-address" (type (eq $ip)))))
  (alias export $net "network" (type $network))
  (alias export $net "error-code" (type $error))
  (alias export $net "ip-address" (type $address))
  (import "wasi:sockets/instance-network@0.2.0" (instance $own
    (alias outer 1 $network (type $n))
    (export "network" (type $network' (eq $n)))
    (export "instance-network" (func (result (own $network'))))))
  (import "wasi:sockets/ip-name-lookup@0.2.0" (instance $lookup
    (alias outer 1 $network (type $n))
    (export "network" (type $network' (eq $n)))
    (alias outer 1 $error (type $e))
    (export "error-code" (type $error' (eq $e)))
    (alias outer 1 $address (type $a))
    (export "ip-address" (type $address' (eq $a)))
    (alias outer 1 $pollable (type $p))
    (export "pollable" (type $pollable' (eq $p)))
    (export "resolve-address-stream" (type $stream (sub resource)))
    (export "resolve-addresses" (func
      (param "network" (borrow $network')) (param "name" string)
      (result (result (own $stream) (error $error')))))
    (export "[method]resolve-address-stream.resolve-next-address" (func
      (param "self" (borrow $stream))
      (result (result (option $address') (error $error')))))
    (export "[method]resolve-address-stream.subscribe" (func
      (param "self" (borrow $stream)) (result (own $pollable'))))))
  (core module $libc (memory (export "memory") 1))
  (core instance $libc (instantiate $libc))
  (core func $block (canon lower (func $poll "[method]pollable.block")))
  (core func $network (canon lower (func $own "instance-network")))
  (core func $resolve (canon lower (func $lookup "resolve-addresses") (memory (core memory $libc "memory"))))
  (core func $next (canon lower
    (func $lookup "[method]resolve-address-stream.resolve-next-address") (memory (core memory $libc "memory"))))
  (core func $subscribe (canon lower
    (func $lookup "[method]resolve-address-stream.subscribe")))
  (core module $m
    (import "" "memory" (memory 1))
    (import "" "block" (func $block (param i32)))
    (import "" "network" (func $network (result i32)))
    (import "" "resolve" (func $resolve (param i32 i32 i32 i32)))
    (import "" "next" (func $next (param i32 i32)))
    (import "" "subscribe" (func $subscribe (param i32) (result i32)))
    (data (i32.const 64) "probe.test")
    (func (export "f") (result i32) (local $stream i32)
      (call $resolve (call $network) (i32.const 64) (i32.const 10) (i32.const 0))
      (if (i32.load8_u (i32.const 0)) (then (return (i32.const 1))))
      (local.set $stream (i32.load (i32.const 4)))
      (call $block (call $subscribe (local.get $stream)))
      (call $next (local.get $stream) (i32.const 16))
      ;; result, option, variant: ok, some, IPv4
      (if (i32.load8_u (i32.const 16)) (then (return (i32.const 1))))
      (if (i32.eqz (i32.load8_u (i32.const 18))) (then (return (i32.const 1))))
      (if (i32.load8_u (i32.const 20)) (then (return (i32.const 1))))
      (i32.ne (i32.load (i32.const 22)) (i32.const 0x4d0200c0))))
  (core instance $i (instantiate $m (with "" (instance
    (export "memory" (memory $libc "memory"))
    (export "block" (func $block))
    (export "network" (func $network))
    (export "resolve" (func $resolve))
    (export "next" (func $next))
    (export "subscribe" (func $subscribe))))))
  (func (export "f") (result (result)) (canon lift (core func $i "f"))))
