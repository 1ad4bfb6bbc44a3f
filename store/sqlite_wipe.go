package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"
	"time"
)

// Key material that a change removed is overwritten on disk too. secure_delete
// has SQLite write zeros over what is deleted. These zeros, and what was there
// before them, lie in the WAL: a checkpoint brings the zeros into the database
// and truncates the WAL. Truncating makes the WAL grow again, which costs more
// than overwriting it, so it happens only after such changes.
const (
	wipeEvery = 2 * time.Second        // at most one checkpoint in this time
	wipeBusy  = 100 * time.Millisecond // writers wait at most this long for one
)

// wiper checkpoints in the background. Its goroutine ends with close.
type wiper struct {
	db   *sql.DB
	conn *sql.Conn     // kept: a later one would open whatever file is in the place by then
	due  chan struct{} // holds a token while there is something to wipe
	stop context.CancelFunc
	done sync.WaitGroup
}

func openWiper(ctx context.Context, path string) (*wiper, error) {
	db, err := sql.Open("sqlite3", sqliteDSN(path, fmt.Sprintf("&_busy_timeout=%d", wipeBusy.Milliseconds())))
	if err != nil {
		return nil, err
	}
	conn, err := db.Conn(ctx)
	if err != nil {
		db.Close()
		return nil, err
	}
	w := &wiper{db: db, conn: conn, due: make(chan struct{}, 1)}
	ctx, w.stop = context.WithCancel(context.Background())
	w.requestWipe() // a process that was killed may have left something
	w.done.Go(func() { w.wipeWhenDue(ctx) })
	return w, nil
}

// requestWipe asks for a checkpoint soon.
func (w *wiper) requestWipe() {
	select {
	case w.due <- struct{}{}:
	default:
	}
}

func (w *wiper) wipeWhenDue(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-w.due:
		}
		if !w.checkpoint(ctx) {
			w.requestWipe()
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(wipeEvery):
		}
	}
}

// checkpoint reports whether the WAL is empty now. The first one works beside
// readers and writers; the second waits for them, and has little left to do.
func (w *wiper) checkpoint(ctx context.Context) bool {
	var busy, frames, done int
	for _, mode := range []string{"PASSIVE", "TRUNCATE"} {
		if err := w.conn.QueryRowContext(ctx, "PRAGMA wal_checkpoint("+mode+")").Scan(&busy, &frames, &done); err != nil {
			return false
		}
	}
	return busy == 0 && frames == 0
}

func (w *wiper) closeWiper() error {
	w.stop()
	w.done.Wait()
	return errors.Join(w.conn.Close(), w.db.Close())
}

// storedKeyRemoval reports whether a batch stored a change that removed key material.
func storedKeyRemoval(batch []*pendingChange) bool {
	for _, p := range batch {
		if p.err == nil && removesKey(p.change) {
			return true
		}
	}
	return false
}
