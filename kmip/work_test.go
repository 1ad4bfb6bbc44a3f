package kmip_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/kmip"
)

// cpuOf is the least work of one processor that f takes, of a few times.
func cpuOf(t *testing.T, f func()) time.Duration {
	t.Helper()
	now := func() time.Duration {
		var used unix.Timespec
		if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &used); err != nil {
			t.Fatal(err)
		}
		return time.Duration(used.Nano())
	}
	least := time.Hour
	for range 3 {
		began := now()
		f()
		least = min(least, now()-began)
	}
	return least
}

// node is one item of a message, as a tree.
type node struct {
	head  []byte // tag and type
	value []byte // of what is no structure, padded, with its length
	in    []*node
}

func treeOf(b []byte) (out []*node) {
	for len(b) > 0 {
		n := int(binary.BigEndian.Uint32(b[4:]))
		whole := 8 + (n+7)&^7
		one := &node{head: b[:4], value: b[4:whole]}
		if b[3] == byte(core.KindStructure) {
			one.value, one.in = nil, treeOf(b[8:whole])
		}
		out = append(out, one)
		b = b[whole:]
	}
	return out
}

func (n *node) append(dst []byte) []byte {
	dst = append(dst, n.head...)
	if n.value != nil {
		return append(dst, n.value...)
	}
	at := len(dst)
	dst = append(dst, 0, 0, 0, 0)
	for _, i := range n.in {
		dst = i.append(dst)
	}
	binary.BigEndian.PutUint32(dst[at:], uint32(len(dst)-at-4))
	return dst
}

// repetitions calls f with a message of 1 MB for every item of msg: the item is
// repeated where it stands. path names it.
func repetitions(msg []byte, f func(path string, grown []byte)) {
	root := treeOf(msg)[0]
	var walk func(n *node, path string)
	walk = func(n *node, path string) {
		for i, child := range n.in {
			way := fmt.Sprintf("%s/%x", path, child.head)
			one := child.append(nil)
			times := (kmip.MaxMessageBytes - len(msg)) / len(one)
			saved := n.in
			n.in = append(append(append([]*node{}, saved[:i+1]...), &node{head: nil, value: bytes.Repeat(one, times)}), saved[i+1:]...)
			f(way, root.append(nil))
			n.in = saved
			walk(child, way)
		}
	}
	walk(root, "")
}

// Whatever a request repeats, and in whatever structure, reading it takes at most
// as much work as a few passes over its bytes, and as much memory as a few copies
// of it. Messages are made by repeating every item of messages of every operation.
func TestRepetitionIsCheap(t *testing.T) {
	if raced {
		t.Skip("the race detector makes work and memory of its own; run this test without -race")
	}
	plain := make([]byte, kmip.MaxMessageBytes)
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	pass := cpuOf(t, func() { sha256.Sum256(plain) })
	read := func(msg []byte) {
		r, err := kmip.ParseRequest(msg)
		if err != nil {
			return
		}
		for _, i := range r.Items {
			for _, p := range everyOperation {
				if p.op == i.Operation {
					p.readRequest(i.Payload, r.Header.Version)
				}
			}
		}
	}
	const passes, copies = 12, 12
	seen := map[string]bool{}
	worst, most := time.Duration(0), uint64(0)
	for _, v := range []core.Version{core.V1_4, core.V2_1} {
		for _, p := range everyOperation {
			for seed := range uint64(3) {
				g := newGen(seed, v)
				payload, _ := p.make(t, g)
				msg, err := kmip.AppendRequest(nil, v, kmip.RequestOptions{ClientCorrelation: "a"}, kmip.ClientItem{Operation: p.op, BatchID: []byte("b"),
					Payload: func(dst []byte, _ core.Version) ([]byte, error) { return append(dst, payload...), nil }})
				if err != nil {
					t.Fatal(err)
				}
				repetitions(msg, func(path string, grown []byte) {
					if key := fmt.Sprint(v, p.op, path); seen[key] {
						return
					} else {
						seen[key] = true
					}
					used := leastMemory(func() { read(grown) })
					if used > copies*kmip.MaxMessageBytes {
						t.Errorf("%v %v: repeating %s takes %d KiB of memory", p.op, v, path, used>>10)
					}
					most = max(most, used)
					took := cpuOf(t, func() { read(grown) })
					if took > passes*pass {
						t.Errorf("%v %v: repeating %s takes %v of work, a pass over the bytes %v", p.op, v, path, took, pass)
					}
					worst = max(worst, took)
				})
			}
		}
	}
	t.Logf("%d messages; the worst takes %.1f passes over its bytes and %.1f copies of it", len(seen), float64(worst)/float64(pass), float64(most)/kmip.MaxMessageBytes)
	if len(seen) < 500 {
		t.Errorf("only %d messages were made", len(seen))
	}
}
