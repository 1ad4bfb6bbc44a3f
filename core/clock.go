package core

// Clock tells the time. Tests have clocks of their own.
type Clock interface {
	Now() int64      // Unix seconds
	NowMicro() int64 // Unix microseconds
	Mono() int64     // microseconds since some start; unlike the others it is never set back
}
