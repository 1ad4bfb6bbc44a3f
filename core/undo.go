package core

// Undo remembers how to take back what a batch has done. The engine fills it;
// [Engine.Undo] uses it. Not safe for concurrent use.
type Undo struct{ Steps []UndoStep }

// UndoStep is one change taken back: Made is deleted, or After goes back to Before.
type UndoStep struct{ Before, After *ManagedObject }
