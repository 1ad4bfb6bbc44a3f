// Keyreeve is a KMIP server on an HSM, and the tool to run it. Start at
// [cli.Main].
package main

import (
	"os"

	"github.com/keyreeve/keyreeve/cmd/keyreeve/cli"
)

func main() { os.Exit(cli.Main(os.Args[1:])) }
