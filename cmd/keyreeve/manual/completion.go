package manual

import (
	"fmt"
	"strings"

	"github.com/alecthomas/kong"
)

// Completion returns the script for a shell: bash, zsh or fish.
func Completion(app *kong.Application, shell string) string {
	return map[string]func(string, []place) string{"bash": bash, "zsh": zsh, "fish": fish}[shell](app.Name, places(app))
}

// words joins the words of choices.
func words(all []choice) string {
	out := make([]string, len(all))
	for i, c := range all {
		out[i] = c.word
	}
	return strings.Join(out, " ")
}

// commandPaths lists the commands below the program.
func commandPaths(all []place) (out []string) {
	for _, p := range all[1:] {
		out = append(out, p.path)
	}
	return out
}

// spellings returns a flag as it can be written.
func (f flag) spellings() []string {
	if f.short == "" {
		return []string{f.word}
	}
	return []string{f.word, "-" + f.short}
}

// quoted quotes a text for bash and zsh.
func quoted(text string) string { return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'" }

// bash writes three tables by command, and a function that looks at them. -o default
// completes file names where the tables have nothing.
func bash(name string, all []place) string {
	var out strings.Builder
	fmt.Fprintf(&out, "# Completion of %[1]s for bash: source it, or put it into bash_completion.d.\n\ndeclare -gA _%[1]s_commands=() _%[1]s_flags=() _%[1]s_values=()\n", name)
	for _, p := range all {
		if len(p.commands) > 0 {
			fmt.Fprintf(&out, "_%s_commands[%s]=%s\n", name, quoted(p.path), quoted(words(p.commands)))
		}
		var flags []choice
		for _, f := range p.flags {
			flags = append(flags, f.choice)
			if f.value {
				for _, spelling := range f.spellings() {
					fmt.Fprintf(&out, "_%s_values[%s]=%s\n", name, quoted(p.path+" "+spelling), quoted(strings.Join(f.values, " ")+" "))
				}
			}
		}
		fmt.Fprintf(&out, "_%s_flags[%s]=%s\n", name, quoted(p.path), quoted(words(flags)))
	}
	fmt.Fprintf(&out, `
_%[1]s() {
  local at=%[1]s current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]} word
  for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
    case " ${_%[1]s_commands[$at]} " in *" $word "*) at="$at $word" ;; esac
  done
  if [[ $current == = ]]; then # --flag=VALUE is three words for bash
    current=
  elif [[ $previous == = ]]; then
    previous=${COMP_WORDS[COMP_CWORD - 2]}
  fi
  COMPREPLY=()
  if [[ -n ${_%[1]s_values["$at $previous"]} ]]; then
    COMPREPLY=($(compgen -W "${_%[1]s_values["$at $previous"]}" -- "$current"))
  elif [[ $current == -* ]]; then
    COMPREPLY=($(compgen -W "${_%[1]s_flags[$at]}" -- "$current"))
  else
    COMPREPLY=($(compgen -W "${_%[1]s_commands[$at]}" -- "$current"))
  fi
}
complete -o default -F _%[1]s %[1]s
`, name)
	return out.String()
}

// described lists choices with their help as _describe of zsh takes them.
func described(all []choice) string {
	out := make([]string, len(all))
	for i, c := range all {
		out[i] = quoted(strings.ReplaceAll(c.word, ":", `\:`) + ":" + c.help)
	}
	return strings.Join(out, " ")
}

// patterns lists texts as alternatives of a case.
func patterns(all []string) string {
	out := make([]string, len(all))
	for i, text := range all {
		out[i] = quoted(text)
	}
	return strings.Join(out, "|")
}

// zsh writes one function.
func zsh(name string, all []place) string {
	var out strings.Builder
	fmt.Fprintf(&out, `#compdef %[1]s
# Completion of %[1]s for zsh: put it as _%[1]s into a folder of fpath, or source it after compinit.

_%[1]s() {
  local at=%[1]s word
  local -a commands flags
  for word in "${(@)words[2,CURRENT-1]}"; do
    case "$at $word" in
      (%[2]s) at="$at $word" ;;
    esac
  done
  case "$at ${words[CURRENT-1]}" in
`, name, patterns(commandPaths(all)))
	for _, p := range all {
		for _, f := range p.flags {
			if !f.value {
				continue
			}
			do := "_files"
			if f.values != nil {
				do = "compadd -- " + strings.Join(f.values, " ")
			}
			var spelled []string
			for _, s := range f.spellings() {
				spelled = append(spelled, p.path+" "+s)
			}
			fmt.Fprintf(&out, "    (%s) %s; return ;;\n", patterns(spelled), do)
		}
	}
	out.WriteString("  esac\n  case \"$at\" in\n")
	for _, p := range all {
		var flags []choice
		for _, f := range p.flags {
			flags = append(flags, f.choice)
		}
		fmt.Fprintf(&out, "    (%s)\n      commands=(%s)\n      flags=(%s)\n      ;;\n", quoted(p.path), described(p.commands), described(flags))
	}
	fmt.Fprintf(&out, `  esac
  if [[ $PREFIX == -* ]]; then
    _describe flag flags
  elif (( $#commands )); then
    _describe command commands
  else
    _files
  fi
}

if [[ "${funcstack[1]}" == _%[1]s ]]; then
  _%[1]s "$@"
else
  compdef _%[1]s %[1]s
fi
`, name)
	return out.String()
}

// quotedForFish quotes a text for fish.
func quotedForFish(text string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(text) + "'"
}

// fish writes a function that tells commands apart, and a line for each choice.
func fish(name string, all []place) string {
	var out strings.Builder
	var paths []string
	for _, path := range commandPaths(all) {
		paths = append(paths, quotedForFish(path))
	}
	fmt.Fprintf(&out, `# Completion of %[1]s for fish: put it as %[1]s.fish into ~/.config/fish/completions.

function __%[1]s_at
    set -l at %[1]s
    for word in (commandline -opc)[2..-1]
        switch "$at $word"
            case %[2]s
                set at "$at $word"
        end
    end
    test "$at" = "$argv[1]"
end

`, name, strings.Join(paths, " "))
	for _, p := range all {
		here := fmt.Sprintf("complete -c %s -n %s", name, quotedForFish("__"+name+"_at "+quotedForFish(p.path)))
		for _, c := range p.commands {
			fmt.Fprintf(&out, "%s -f -a %s -d %s\n", here, c.word, quotedForFish(c.help))
		}
		for _, f := range p.flags {
			line := here + " -l " + strings.TrimPrefix(f.word, "--")
			if f.short != "" {
				line += " -s " + f.short
			}
			switch {
			case f.values != nil:
				line += " -x -a " + quotedForFish(strings.Join(f.values, " "))
			case f.value:
				line += " -r"
			}
			fmt.Fprintf(&out, "%s -d %s\n", line, quotedForFish(f.help))
		}
	}
	return out.String()
}
