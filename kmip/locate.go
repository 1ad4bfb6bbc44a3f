package kmip

import (
	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/operation"
)

// Locate is KMIP 1.4 §4.9, 2.1 §6.1.28.
// The ID Placeholder becomes the only identifier that is returned, or empty if
// there is none or more than one.
var Locate = define(Operation[operation.LocateInput, operation.LocateOutput]{
	Row: Row{
		Code:        core.OperationLocate,
		Change:      ChangesNothing,
		Stream:      OnePart,
		Placeholder: SetsPlaceholder,
		References:  []Reference{{core.UniqueLocate, EveryID}},
		Reasons:     onlyListed(core.ReasonInvalidAttribute),
	},
	Identifiers: Identifiers[operation.LocateInput, operation.LocateOutput]{
		Target:  noTarget[operation.LocateInput],
		Sources: noSources[operation.LocateInput],
		Links:   func(in *operation.LocateInput) core.Attributes { return in.Attributes },
		AnsweredIDs: func(list []string, _ *operation.LocateInput, out *operation.LocateOutput) []string {
			return append(list, out.IDs...)
		},
		NextPlaceholder: func(out *operation.LocateOutput) string {
			if len(out.IDs) == 1 {
				return out.IDs[0]
			}
			return ""
		},
	},
	request:  locateRequest,
	response: locateResponse,
})

// locateRequest reads the filters from Attribute structures, which some clients put
// inside a Template-Attribute, and in 2.x from Attributes. An unknown field could be
// a filter. Ignoring it would find more than was asked for, so it is refused.
func locateRequest(c *coder, in *operation.LocateInput) {
	if c.reading {
		in.MaximumItems = -1
		c.exact, c.lenient = true, false
		c.skipExtensions()
	}
	optionalCount(c, core.TagMaximumItems, &in.MaximumItems)
	if c.atLeast(core.V1_3) || c.reading {
		c.int32Field(core.TagOffsetItems, &in.OffsetItems, false)
	}
	storageStatus(c, &in.StorageStatus)
	if c.atLeast(core.V1_1) {
		enumField(c, core.TagObjectGroupMember, &in.GroupMember, false)
	}
	if c.isV1() && c.reading {
		template(c, plainTemplate, &in.Attributes, nil, false)
	}
	attributeSet(c, &in.Attributes, false)
	if n := len(in.Attributes); c.reading && n > MaxLocateFilters {
		c.fail(core.Errorf(core.InvalidField, "Locate has %d attributes to compare with; the limit is %d", n, MaxLocateFilters))
	}
}

func locateResponse(c *coder, out *operation.LocateOutput) {
	if c.reading {
		out.Located = -1
	}
	if c.atLeast(core.V1_3) {
		optionalCount(c, core.TagLocatedItems, &out.Located)
	}
	c.textList(core.TagUniqueIdentifier, MaxListed, &out.IDs)
}

// storageStatus is the Storage Status Mask, 0 if it is absent. A mask of 0 would
// look like an absent one, so it is refused.
func storageStatus(c *coder, p *uint32) {
	status := int32(*p)
	if c.reading {
		it, ok := c.takeField(core.TagStorageStatusMask, core.KindInteger, false)
		if status = int32(it.number()); ok && status == 0 {
			c.fail(core.Errorf(core.InvalidField, "the Storage Status Mask is 0 and selects no storage; leave it out to search on-line storage"))
		}
		*p = uint32(status)
	} else {
		c.int32Field(core.TagStorageStatusMask, &status, false)
	}
}

// optionalCount is a number of items, negative if it is absent.
func optionalCount(c *coder, t core.Tag, p *int32) {
	if !c.reading {
		if *p >= 0 {
			c.int32Field(t, p, true)
		}
		return
	}
	if it, ok := c.takeField(t, core.KindInteger, false); ok {
		if *p = int32(it.number()); *p < 0 {
			c.fail(core.Errorf(core.InvalidField, "%v is negative", t))
		}
	}
}
