package bundle

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
)

// Place is where clients find the server.
type Place struct{ Host, Port string }

// Listing says for each file of the bundle what it is.
func (b *Bundle) Listing() string {
	var s strings.Builder
	for _, f := range b.files {
		fmt.Fprintf(&s, "%s  %s\n", filepath.Join(b.folder, f.Name), f.What)
	}
	return s.String()
}

// Steps says what is left to do, with the places and files of this bundle.
func (b *Bundle) Steps(at Place) string {
	p := &b.product
	var steps []string
	steps = append(steps, "Move the files to the client, and remove them here. Anyone who has the secrets is the client.")
	if p.Form == FormRequest {
		steps[0] = "Give the certificate and the authority to the product that made the request."
	}
	if p.Password == PasswordSent {
		steps = append(steps, fmt.Sprintf("Make a user for its user name and password: keyreeve user add %s", b.name))
	}
	if p.Settings != "" && b.canFill(p.Settings) {
		steps = append(steps, fmt.Sprintf("Put this into %s:\n\n%s\n", p.Where, indent(p.Settings)))
	} else {
		steps = append(steps, "Put these into the KMIP settings of the product:\n\n"+indent(b.generalSettings())+"\n")
	}
	if p.OwnRequest && p.Form != FormRequest {
		steps = append(steps, "The product can make its own key instead: have it make a certificate request, and give this to keyreeve client renew "+b.name+" --for "+p.Name+" --csr FILE --out NEWFOLDER. Then these files are not needed: end their certificate with keyreeve client revoke "+b.name+" --serial "+b.serial+".")
	}
	var s strings.Builder
	fmt.Fprintf(&s, "Steps for %s:\n\n", p.Title)
	for i, step := range steps {
		fmt.Fprintf(&s, "%d. %s\n", i+1, step)
	}
	if notes := slices.DeleteFunc(p.notes(), func(note string) bool { return !b.canFill(note) }); len(notes) > 0 {
		s.WriteString("\nWhat is known of it:\n\n- " + strings.Join(notes, "\n- ") + "\n")
	}
	return b.fill(s.String(), at)
}

// generalSettings says what goes into settings whose names are not known.
func (b *Bundle) generalSettings() string {
	lines := []string{"server       {host}", "port         {port}"}
	for _, f := range b.files {
		label := map[string]string{"ca": "authority", "pkcs12": "certificate", "certificate": "certificate", "key": "private key", "password": "password"}[f.place]
		if f.place == "password" {
			label = "its password"
		}
		lines = append(lines, fmt.Sprintf("%-12s {%s}", label, f.place))
	}
	return strings.Join(lines, "\n")
}

// notes are the notes of the table and those that follow from the row.
func (p *Product) notes() []string {
	var out []string
	if p.Versions != "" {
		out = append(out, "It speaks KMIP "+p.Versions+".")
	}
	if p.ChecksHost {
		out = append(out, "It compares the server's name with the server's certificate.")
	}
	if p.Password == PasswordOptional {
		out = append(out, "It can send a user name and a password, and needs none. "+credentialsMeanNothing)
	}
	return append(out, p.Notes...)
}

// fill puts hosts and files into a text.
func (b *Bundle) fill(text string, at Place) string {
	pairs := []string{"{host}", at.Host, "{port}", at.Port, "{name}", b.name}
	for _, f := range b.files {
		pairs = append(pairs, "{"+f.place+"}", filepath.Join(b.folder, f.Name))
	}
	return strings.NewReplacer(pairs...).Replace(text)
}

// canFill reports whether the bundle has each file that a text has a place for. One in another
// form than the product's has not.
func (b *Bundle) canFill(text string) bool {
	for _, place := range []string{"certificate", "key", "pkcs12", "password"} {
		if strings.Contains(text, "{"+place+"}") && !slices.ContainsFunc(b.files, func(f file) bool { return f.place == place }) {
			return false
		}
	}
	return true
}

func indent(s string) string { return "    " + strings.ReplaceAll(s, "\n", "\n    ") }
