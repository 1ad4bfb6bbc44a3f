package core

// Matches reports whether o has every attribute of f, as Locate compares them (KMIP
// 1.4 §4.9, 2.1 §6.1.28):
//
//   - An attribute that o lacks never matches.
//   - Two instances of one date are a range, which includes its ends.
//   - A Usage Mask matches if o has all its bits.
//   - Usage Limits match if o has as many or more.
//   - Of a structure only the given fields are compared. All of them must be equal.
//
// It does not look at Owner and Groups: the store and the policy do.
func (f *Filter) Matches(o *ManagedObject) bool {
	for i := range f.Attributes {
		if !f.matchesOne(&f.Attributes[i], o) {
			return false
		}
	}
	return true
}

func (f *Filter) matchesOne(want *Attribute, o *ManagedObject) bool {
	switch {
	case want.Tag == TagState:
		return o.Attributes.Has(TagState) && o.StateAt(f.Now) == State(want.Value.Uint())
	case want.Tag == TagCryptographicUsageMask:
		v, ok := o.Attributes.Get(want.Tag)
		return ok && v.Uint()&want.Value.Uint() == want.Value.Uint()
	case want.Tag == TagOperationPolicyName:
		name, ok := o.OperationPolicyName()
		return ok && Text(name).Equal(want.Value)
	case want.Tag == TagUsageLimits:
		v, ok := o.Attributes.Get(want.Tag)
		return ok && suffices(v, want.Value)
	case want.Value.Kind == KindDateTime && want.Tag != 0:
		return f.matchesDate(want.Tag, o)
	}
	ref := want.Ref()
	for i := range o.Attributes {
		if ref.Names(&o.Attributes[i]) && covers(o.Attributes[i].Value, want.Value) {
			return true
		}
	}
	return false
}

// matchesDate compares with one date, or with the range that two of them span.
func (f *Filter) matchesDate(t Tag, o *ManagedObject) bool {
	have, ok := o.Attributes.Get(t)
	if !ok {
		return false
	}
	low, high, n := int64(0), int64(0), 0
	for i := range f.Attributes {
		if a := &f.Attributes[i]; a.Tag == t {
			if n == 0 || a.Value.Num < low {
				low = a.Value.Num
			}
			if n == 0 || a.Value.Num > high {
				high = a.Value.Num
			}
			n++
		}
	}
	return low <= have.Num && have.Num <= high
}

// suffices reports whether Usage Limits have at least the wanted total and count.
func suffices(have, want Value) bool {
	for _, w := range want.Fields {
		switch h := have.Field(w.Tag); w.Tag {
		case TagUsageLimitsTotal, TagUsageLimitsCount:
			if h.IsZero() || h.Num < w.Value.Num {
				return false
			}
		default:
			if !h.Equal(w.Value) {
				return false
			}
		}
	}
	return true
}

// covers reports whether have is equal to want. Of structures only the fields of want
// are compared.
func covers(have, want Value) bool {
	if want.Kind != KindStructure || have.Kind != KindStructure {
		return have.Equal(want)
	}
	for _, w := range want.Fields {
		if !have.Field(w.Tag).Equal(w.Value) {
			return false
		}
	}
	return true
}
