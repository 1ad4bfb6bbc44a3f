package core

// Usage is what one tenant has. It is counted in the transaction that changes it.
// The row of the count has no seal: someone who can write the database can lift
// a quota, and gains nothing else by it.
type Usage struct {
	Objects      int64 // rows, those of destroyed objects included
	ResidentKeys int64 // token objects of keys that are not destroyed
	Bytes        int64 // attributes and sealed key material, about
}

// Add returns the sum of both.
func (u Usage) Add(v Usage) Usage {
	return Usage{u.Objects + v.Objects, u.ResidentKeys + v.ResidentKeys, u.Bytes + v.Bytes}
}

// Sub returns the difference.
func (u Usage) Sub(v Usage) Usage {
	return Usage{u.Objects - v.Objects, u.ResidentKeys - v.ResidentKeys, u.Bytes - v.Bytes}
}

// Quota bounds what one tenant may have, and ask for in a second. 0 is no bound.
type Quota struct {
	Objects           int64
	ResidentKeys      int64
	Bytes             int64
	TenantRequests    int64 // operations a second of one tenant
	PrincipalRequests int64 // operations a second of one principal
}
