package client

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/term"
)

// When progress is shown.
const (
	progressAfter = time.Second // shorter work shows nothing
	progressEvery = 200 * time.Millisecond
)

// progress is a reader that shows on a terminal how much was read.
type progress struct {
	src  io.Reader
	read atomic.Int64
	stop chan struct{}
	over sync.WaitGroup
}

// Read reads from the source.
func (p *progress) Read(b []byte) (int, error) {
	n, err := p.src.Read(b)
	p.read.Add(int64(n))
	return n, err
}

// showProgress returns a reader of src that shows progress on screen until end is called, if
// screen is a terminal that can erase a line. A size of 0 is an unknown one.
func showProgress(screen *os.File, src io.Reader, size int64) *progress {
	p := &progress{src: src, stop: make(chan struct{})}
	if term.IsTerminal(int(screen.Fd())) && os.Getenv("TERM") != "dumb" {
		p.over.Go(func() { p.draw(screen, size) })
	}
	return p
}

// end takes the line of progress away.
func (p *progress) end() {
	close(p.stop)
	p.over.Wait()
}

// draw draws the line again and again.
func (p *progress) draw(screen io.Writer, size int64) {
	began := time.Now()
	next := time.NewTimer(progressAfter)
	defer next.Stop()
	for drawn := false; ; drawn = true {
		select {
		case <-next.C:
			fmt.Fprintf(screen, "\r%s\x1b[K", progressLine(p.read.Load(), size, time.Since(began)))
			next.Reset(progressEvery)
		case <-p.stop:
			if drawn {
				io.WriteString(screen, "\r\x1b[K")
			}
			return
		}
	}
}

// barWidth is the width of a bar, in characters.
const barWidth = 30

// progressLine says how much of a size was read, and how fast. A size of 0 is an unknown one.
func progressLine(read, size int64, took time.Duration) string {
	const mebi = 1 << 20
	text := fmt.Sprintf("%d MiB, %.0f MiB/s", read/mebi, float64(read)/mebi/took.Seconds())
	if size == 0 || read > size {
		return text
	}
	done := int(read * barWidth / size)
	return fmt.Sprintf("[%s%s] %3d %% of %d MiB, %s", strings.Repeat("#", done), strings.Repeat(" ", barWidth-done), read*100/size, size/mebi, text)
}
