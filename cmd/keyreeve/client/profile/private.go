package profile

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
)

// readPrivate reads a regular file that only its owner can read or change.
func readPrivate(path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a pipe would block
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", path)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("%s can be read or changed by others (mode %04o); chmod 600 it", path, info.Mode().Perm())
	}
	b, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(b) > maxFile {
		err = fmt.Errorf("%s has more than %d bytes", path, maxFile)
	}
	return b, err
}

// writeWithFolder is WritePrivate that makes the folder if it is missing.
func writeWithFolder(path string, content []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	return WritePrivate(path, content)
}

// WritePrivate writes a file whole or not at all. Only its owner can read it.
func WritePrivate(path string, content []byte) error {
	return WritePrivateBy(path, func(w io.Writer) error {
		_, err := w.Write(content)
		return err
	})
}

// WritePrivateBy is WritePrivate for a content that a function writes. The file gets its name
// when the function has returned without an error. Until then it is beside it, with a name that
// begins with a dot; that file is left behind if the process is killed.
func WritePrivateBy(path string, write func(io.Writer) error) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*") // CreateTemp gives it the mode 0600
	if err != nil {
		return err
	}
	err = write(f)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		os.Remove(f.Name())
	}
	return err
}
