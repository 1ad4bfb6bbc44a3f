package core

// Event is what moves an object from one [State] to another.
type Event uint8

// The events of KMIP 2.1 §4.57 and 1.4 §3.22. A date that is reached is the same
// event as the operation with that effect.
const (
	Activate   Event = iota + 1 // Activate, or the Activation Date is reached
	Deactivate                  // Revoke without compromise, or the Deactivation Date is reached
	Compromise                  // Revoke with reason Key Compromise or CA Compromise
	Destroy                     // Destroy
)

var eventNames = [...]string{"", "Activate", "Deactivate", "Compromise", "Destroy"}

func (e Event) String() string { return eventNames[e] }

type transition struct {
	from State
	on   Event
}

// transitions is the figure of KMIP 2.1 §4.57 and 1.4 §3.22, arrow by arrow.
var transitions = map[transition]State{
	{PreActive, Activate}:     Active,               // 4
	{PreActive, Destroy}:      Destroyed,            // 2
	{PreActive, Compromise}:   Compromised,          // 3
	{Active, Deactivate}:      Deactivated,          // 6
	{Active, Compromise}:      Compromised,          // 5
	{Deactivated, Destroy}:    Destroyed,            // 7
	{Deactivated, Compromise}: Compromised,          // 8
	{Compromised, Destroy}:    DestroyedCompromised, // 9
	{Destroyed, Compromise}:   DestroyedCompromised, // 10
}

// hints say how to come to a transition that is missing.
var hints = map[transition]string{
	{Active, Destroy}: "; revoke the object first",
}

// Next returns the state that an object in state s enters on event e.
//
// It is the whole of KMIP 1.4 §3.22 "State" and touches neither clock nor
// database; see [ManagedObject.StateAt] for dates. A transition that the
// specification does not have returns s and an error of code [WrongState].
func (s State) Next(e Event) (State, error) {
	if to, ok := transitions[transition{s, e}]; ok {
		return to, nil
	}
	return s, Errorf(WrongState, "%v is not possible in state %v%s", e, s, hints[transition{s, e}])
}

// Gone reports whether the object's material has been destroyed.
func (s State) Gone() bool { return s == Destroyed || s == DestroyedCompromised }

// StateAt returns the object's state at a time (Unix seconds): the stored state,
// changed by an Activation Date or Deactivation Date that has been reached since.
func (o *ManagedObject) StateAt(now int64) State {
	s := State(o.Attributes.Num(TagState))
	if date, ok := o.Attributes.Date(TagActivationDate); ok && s == PreActive && date <= now {
		s, _ = s.Next(Activate)
	}
	if date, ok := o.Attributes.Date(TagDeactivationDate); ok && s == Active && date <= now {
		s, _ = s.Next(Deactivate)
	}
	return s
}

// CheckUse returns nil if an object may protect (encrypt, sign, wrap, make a
// MAC) or process (decrypt, verify, unwrap) at a time: protecting needs Active
// and Process Start Date <= now < Protect Stop Date; processing is allowed also
// when Deactivated or Compromised (KMIP 1.4 §3.22, §3.26, §3.27). Otherwise the
// code is [WrongState] or [ObjectDestroyed].
func (o *ManagedObject) CheckUse(protect bool, now int64) error {
	s := o.StateAt(now)
	switch {
	case s.Gone():
		return Errorf(ObjectDestroyed, "object %s is destroyed", o.ID)
	case s == PreActive, protect && s != Active:
		return Errorf(WrongState, "object %s is %v, which does not allow this use", o.ID, s)
	}
	if date, ok := o.Attributes.Date(TagProcessStartDate); ok && date > now {
		return Errorf(WrongState, "object %s may be used only after its Process Start Date", o.ID)
	}
	if date, ok := o.Attributes.Date(TagProtectStopDate); ok && protect && date <= now {
		return Errorf(WrongState, "the Protect Stop Date of object %s has passed", o.ID)
	}
	return nil
}
