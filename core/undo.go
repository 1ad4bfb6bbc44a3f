package core

// Undo remembers the changes of a batch, so that they can be undone. The engine fills
// it; [Engine.Undo] uses it. Not safe for concurrent use.
type Undo struct{ Steps []UndoStep }

// UndoStep is one change of an object. If Before is nil, the object was made and is
// deleted again. Otherwise After is replaced by Before.
type UndoStep struct{ Before, After *ManagedObject }
