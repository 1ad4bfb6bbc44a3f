package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"
	"time"
)

// Key material that a change removes is overwritten on disk too. With secure_delete,
// SQLite writes zeros over what is deleted. At first both the zeros and the old bytes
// are in the WAL. A checkpoint copies the zeros into the database and truncates the
// WAL. A truncated WAL grows again, which costs more than to overwrite it, so this
// happens only after such changes.
const (
	wipeEvery = 2 * time.Second        // shortest time between checkpoints
	wipeBusy  = 100 * time.Millisecond // longest time that writers wait for one
)

// wiper checkpoints in the background. Its goroutine ends with close.
type wiper struct {
	db   *sql.DB
	conn *sql.Conn     // kept open: a later connection could open another file that was put there
	due  chan struct{} // holds a token while a checkpoint is wanted
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
	w.requestWipe() // a process that was killed may have left key material
	w.done.Go(func() { w.wipeWhenDue(ctx) })
	return w, nil
}

// requestWipe requests a checkpoint soon.
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

// checkpoint runs two checkpoints and reports whether the WAL is empty. The first does
// not stop readers and writers. The second waits for them, and has little left to do.
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

// storedKeyRemoval reports whether a stored change of a batch removed key material.
func storedKeyRemoval(batch []*pendingChange) bool {
	for _, p := range batch {
		if p.err == nil && removesKey(p.change) {
			return true
		}
	}
	return false
}
