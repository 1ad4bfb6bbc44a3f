package fair

// Queue holds items that cost about the same. Pop takes one item of each tenant in turn,
// and within a tenant one of each principal in turn. Items of one principal keep their
// order. The zero Queue is empty. Not safe for concurrent use.
type Queue[T any] struct {
	n      int
	ring   []*tenantLine[T]
	next   int
	byName map[string]*tenantLine[T]
}

type tenantLine[T any] struct {
	name   string
	ring   []*line[T]
	next   int
	byName map[string]*line[T]
}

type line[T any] struct {
	name  string
	items []T
}

// Len returns the number of items.
func (q *Queue[T]) Len() int { return q.n }

// Push adds an item at the end of its principal's line.
func (q *Queue[T]) Push(tenant, principal string, item T) {
	if q.byName == nil {
		q.byName = map[string]*tenantLine[T]{}
	}
	t := q.byName[tenant]
	if t == nil {
		t = &tenantLine[T]{name: tenant, byName: map[string]*line[T]{}}
		q.byName[tenant] = t
		q.ring = append(q.ring, t)
	}
	l := t.byName[principal]
	if l == nil {
		l = &line[T]{name: principal}
		t.byName[principal] = l
		t.ring = append(t.ring, l)
	}
	l.items = append(l.items, item)
	q.n++
}

// Pop removes and returns the item whose turn it is. It returns false if the queue is
// empty.
func (q *Queue[T]) Pop() (item T, ok bool) {
	if q.n == 0 {
		return item, false
	}
	q.n--
	q.next %= len(q.ring)
	t := q.ring[q.next]
	t.next %= len(t.ring)
	l := t.ring[t.next]
	item = l.items[0]
	var none T
	l.items[0] = none
	if l.items = l.items[1:]; len(l.items) > 0 {
		t.next++
	} else {
		delete(t.byName, l.name)
		t.ring = append(t.ring[:t.next], t.ring[t.next+1:]...)
	}
	if len(t.ring) > 0 {
		q.next++
	} else {
		delete(q.byName, t.name)
		q.ring = append(q.ring[:q.next], q.ring[q.next+1:]...)
	}
	return item, true
}
