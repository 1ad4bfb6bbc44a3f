package manual

import (
	"fmt"
	"strings"

	"github.com/alecthomas/kong"

	"github.com/keyreeve/keyreeve/cmd/keyreeve/client"
)

// Pages returns the man pages of all commands that are not hidden, by file name.
func Pages(app *kong.Application) map[string]string {
	out := map[string]string{}
	var walk func(n *kong.Node)
	walk = func(n *kong.Node) {
		out[pageOf(n)+".1"] = page(n)
		for _, child := range visible(n) {
			walk(child)
		}
	}
	walk(app.Node)
	return out
}

// pageOf returns the name of a command's page.
func pageOf(n *kong.Node) string { return strings.ReplaceAll(commandOf(n), " ", "-") }

// page writes a page in roff, with the macros of man(7).
func page(n *kong.Node) string {
	var out strings.Builder
	fmt.Fprintf(&out, ".TH %s 1 \"\" keyreeve keyreeve\n.SH NAME\n%s \\- %s\n.SH SYNOPSIS\n.B %s\n", strings.ToUpper(roff(pageOf(n))), roff(pageOf(n)), roff(sentence(n.Help)), roff(commandOf(n)))
	if len(visible(n)) > 0 {
		out.WriteString("\\fICOMMAND\\fR [\\fIFLAGS\\fR]\n")
	} else {
		for _, a := range n.Positional {
			out.WriteString(roff(a.Summary()) + "\n")
		}
		out.WriteString(strings.TrimSpace(roff(n.FlagSummary(true))+" [\\fIFLAGS\\fR]") + "\n")
	}
	out.WriteString(".SH DESCRIPTION\n" + roff(n.Help) + "\n")
	section(&out, "COMMANDS", visible(n), func(child *kong.Node) (string, string) { return `\fB` + roff(pageOf(child)) + `\fR(1)`, child.Help })
	section(&out, "ARGUMENTS", n.Positional, func(a *kong.Positional) (string, string) { return roff(a.Summary()), a.Help })
	for _, group := range n.AllFlags(true) {
		if group[0].Name == "help" || n.Parent == nil || len(visible(n)) == 0 {
			section(&out, "FLAGS", group, func(f *kong.Flag) (string, string) { return flagTag(f), f.Help })
		}
	}
	writeDetail(&out, n.Detail)
	if n.Parent == nil {
		section(&out, "EXIT STATUS OF THE COMMANDS OVER REST", client.ExitStatuses, func(s client.ExitStatus) (string, string) { return fmt.Sprint(s.Status), s.Meaning })
		section(&out, "ENVIRONMENT OF THE COMMANDS OVER REST", client.Variables, func(v client.Variable) (string, string) { return roff(v.Name), v.Meaning })
	} else {
		fmt.Fprintf(&out, ".SH SEE ALSO\n.BR %s (1)\n", roff(pageOf(n.Parent)))
	}
	return out.String()
}

// section writes a list of things with what they mean, or nothing if there are none.
func section[T any](out *strings.Builder, title string, all []T, of func(T) (tag, help string)) {
	if len(all) == 0 {
		return
	}
	if heading := ".SH " + title + "\n"; !strings.Contains(out.String(), heading) {
		out.WriteString(heading)
	}
	for _, one := range all {
		tag, help := of(one)
		fmt.Fprintf(out, ".TP\n%s\n%s\n", tag, roff(help))
	}
}

// flagTag returns a flag as it is written, with its value and its default.
func flagTag(f *kong.Flag) string {
	tag := `\fB` + roff("--"+f.Name) + `\fR`
	if f.Tag.Negatable != "" {
		tag = `\fB` + roff("--[no-]"+f.Name) + `\fR`
	}
	if f.Short != 0 {
		tag = `\fB` + roff("-"+string(f.Short)) + `\fR, ` + tag
	}
	if f.IsBool() || f.IsCounter() {
		return tag
	}
	return tag + `=\fI` + roff(strings.Trim(f.FormatPlaceHolder(), `"`)) + `\fR`
}

// writeDetail writes the examples: lines that are indented stay as they are.
func writeDetail(out *strings.Builder, detail string) {
	if detail == "" {
		return
	}
	out.WriteString(".SH EXAMPLES\n")
	verbatim := false
	for line := range strings.Lines(strings.Replace(detail, "Examples:\n", "", 1)) {
		line = strings.TrimRight(line, "\n")
		indented := strings.HasPrefix(line, "    ")
		switch {
		case line == "":
			continue
		case indented && !verbatim:
			out.WriteString(".RS 4\n.nf\n")
		case !indented && verbatim:
			out.WriteString(".fi\n.RE\n.PP\n")
		}
		verbatim = indented
		out.WriteString(roff(strings.TrimPrefix(line, "    ")) + "\n")
	}
	if verbatim {
		out.WriteString(".fi\n.RE\n")
	}
}

// roff escapes a text.
func roff(text string) string {
	text = strings.NewReplacer(`\`, `\e`, `-`, `\-`, "\n", " ").Replace(text)
	if strings.HasPrefix(text, ".") || strings.HasPrefix(text, "'") {
		text = `\&` + text
	}
	return text
}
