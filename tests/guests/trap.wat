;; Traps in the third of three nested functions. Their names are in the name section.
(module
  (memory (export "memory") 1)
  (func $outer (call $middle))
  (func $middle (call $innermost))
  (func $innermost unreachable)
  (func (export "_start") (call $outer)))
