package sqlitefile

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

// Wiper checkpoints in the background. Its goroutine ends with Close.
type Wiper struct {
	db   *sql.DB
	conn *sql.Conn     // kept open: a later connection could open another file that was put there
	due  chan struct{} // holds a token while a checkpoint is wanted
	stop context.CancelFunc
	done sync.WaitGroup
}

// OpenWiper opens a connection of its own to the database. Close ends it.
func OpenWiper(ctx context.Context, path string) (*Wiper, error) {
	db, err := sql.Open("sqlite3", DSN(path, fmt.Sprintf("&_busy_timeout=%d", wipeBusy.Milliseconds())))
	if err != nil {
		return nil, err
	}
	conn, err := db.Conn(ctx)
	if err != nil {
		db.Close()
		return nil, err
	}
	w := &Wiper{db: db, conn: conn, due: make(chan struct{}, 1)}
	ctx, w.stop = context.WithCancel(context.Background())
	w.Request() // a process that was killed may have left key material
	w.done.Go(func() { w.wipeWhenDue(ctx) })
	return w, nil
}

// Request asks for a checkpoint soon. It does not wait.
func (w *Wiper) Request() {
	select {
	case w.due <- struct{}{}:
	default:
	}
}

func (w *Wiper) wipeWhenDue(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-w.due:
		}
		if !w.checkpoint(ctx) {
			w.Request()
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
func (w *Wiper) checkpoint(ctx context.Context) bool {
	var busy, frames, done int
	for _, mode := range []string{"PASSIVE", "TRUNCATE"} {
		if err := w.conn.QueryRowContext(ctx, "PRAGMA wal_checkpoint("+mode+")").Scan(&busy, &frames, &done); err != nil {
			return false
		}
	}
	return busy == 0 && frames == 0
}

// Close waits for the end of a checkpoint that is under way.
func (w *Wiper) Close() error {
	w.stop()
	w.done.Wait()
	return errors.Join(w.conn.Close(), w.db.Close())
}
