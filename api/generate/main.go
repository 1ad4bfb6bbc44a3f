package main

import (
	"fmt"
	"os"
)

func main() {
	s, err := readSpecification("openapi.yaml")
	if err != nil {
		fail("%v", err)
	}
	writeTypes(s)
	writeOperations(s)
	writePage(s)
	writeTable(s, "../docs/REST.md")
}

// fail ends the program: a specification that cannot be used in full is not used at all.
func fail(text string, args ...any) {
	fmt.Fprintf(os.Stderr, "api/generate: "+text+"\n", args...)
	os.Exit(1)
}
