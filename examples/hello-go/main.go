// Greets everyone named as an argument, each from a goroutine of its own.
//
// GOOS=wasip1 GOARCH=wasm go build -o hello-go.wasm
package main

import (
	"fmt"
	"os"
	"runtime"
	"sync"
)

func main() {
	names := os.Args[1:]
	if len(names) == 0 {
		names = []string{"world"}
	}
	greetings := make([]string, len(names))
	var all sync.WaitGroup
	for i, name := range names {
		all.Add(1)
		go func(i int, name string) {
			defer all.Done()
			greetings[i] = "Hello, " + name + "!"
		}(i, name)
	}
	all.Wait()
	for _, greeting := range greetings {
		fmt.Println(greeting)
	}
	fmt.Printf("from Go on %s/%s\n", runtime.GOOS, runtime.GOARCH)
}
