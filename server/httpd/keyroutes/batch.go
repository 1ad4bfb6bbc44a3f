package keyroutes

import (
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"time"

	"github.com/keyreeve/keyreeve/api"
	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/operation"
	"github.com/keyreeve/keyreeve/server/httpd/door"
)

// maxBatchAnswer bounds the answers of a batch in bytes. An item that begins below it is answered.
const maxBatchAnswer = 2 << 20

// batchOperation is what an item of a batch can ask for.
type batchOperation struct {
	action core.Action // recorded if the item is not begun
	answer func(*service, *core.Caller, *http.Request) (any, error)
}

// batchOperations are the routes that items of a batch can ask for, by their path without /v1/.
var batchOperations = map[string]batchOperation{
	"encrypt":    {core.ActionEncrypt, itemOf((*service).encrypt)},
	"decrypt":    {core.ActionDecrypt, itemOf((*service).decrypt)},
	"reencrypt":  {core.ActionReencryptTo, itemOf((*service).reencrypt)},
	"data-keys":  {core.ActionGenerateDataKey, itemOf((*service).makeDataKey)},
	"sign":       {core.ActionSign, itemOf((*service).sign)},
	"verify":     {core.ActionSignatureVerify, itemOf((*service).verify)},
	"mac":        {core.ActionMAC, itemOf((*service).makeMAC)},
	"mac/verify": {core.ActionMACVerify, itemOf((*service).verifyMAC)},
	"hash":       {core.ActionHash, itemOf((*service).hash)},
	"random":     {core.ActionRNGRetrieve, itemOf((*service).randomItem)},
	"wrap":       {core.ActionEncrypt, itemOf((*service).wrap)},
	"unwrap":     {core.ActionDecrypt, itemOf((*service).unwrap)},
	"derive":     {core.ActionDeriveKey, itemOf((*service).derive)},
}

func itemOf[A any](answer func(*service, *core.Caller, *http.Request) (A, error)) func(*service, *core.Caller, *http.Request) (any, error) {
	return func(s *service, c *core.Caller, r *http.Request) (any, error) { return answer(s, c, r) }
}

// batchItem is the body of an item. It has the member "operation" besides those of the route.
type batchItem struct {
	io.ReadCloser // none: decode reads the item
	text          []byte
	operation     string
}

// decode is [door.Decode] for an item. An item makes no key: "into" is no member of it.
func (i *batchItem) decode(v door.Specified) error {
	schema := *v.Schema()
	schema.Members = append(slices.DeleteFunc(slices.Clone(schema.Members), func(m api.Member) bool { return m.Name == "into" }),
		api.Member{Name: "operation", Required: true, Schema: &api.Schema{Kind: api.Text, Enum: []string{i.operation}}})
	return door.DecodeBytesAs(i.text, v, &schema)
}

// decodeBody decodes the body of a request or of an item of a batch.
func decodeBody(r *http.Request, v door.Specified) error {
	if item, ok := r.Body.(*batchItem); ok {
		return item.decode(v)
	}
	return door.Decode(r.Body, v)
}

// batch does what the items ask for, one after the other. Each is an operation of its own: it is
// decided, counted and recorded by itself. The records are stored before the answer is sent.
func (s *service) batch(c *core.Caller, r *http.Request) (out batchAnswer, err error) {
	var body api.BatchRequest
	if err := s.DecodeFor(c, r, core.ActionMessage, &body); err != nil {
		return out, err
	}
	defer func() {
		for _, item := range body.Items {
			core.Retire(item) // it may hold plaintext
		}
	}()
	for i, item := range body.Items {
		if item[0] != '{' {
			return out, s.Engine.RecordRefused(r.Context(), c, core.ActionMessage, core.Errorf(core.InvalidField, `"items[%d]" must be an object`, i))
		}
	}
	err = s.Engine.RecordTogether(c, func(c *core.Caller) { out.Items = s.answerItems(c, r, body.Items) })
	if err != nil {
		out.Wipe()
		return batchAnswer{}, err
	}
	return out, nil
}

// answerItems answers the items in their order. It leaves items out if the client has gone, if half
// of the time for a request is over, or if the answer has become too large.
func (s *service) answerItems(c *core.Caller, r *http.Request, items []json.RawMessage) []api.BatchItem {
	out := make([]api.BatchItem, 0, len(items))
	began, size := time.Now(), 0
	for _, text := range items {
		if r.Context().Err() != nil {
			break // nobody reads the answer
		}
		var left error
		switch budget := s.Operation / 2; {
		case time.Since(began) > budget:
			left = core.Errorf(core.Busy, "the items before this one took longer than %v, so it was not begun; send it again", budget)
		case size > maxBatchAnswer:
			left = core.Errorf(core.ResponseTooLarge, "the answers to the items before this one have more than %d bytes, so it was not begun; send it again", maxBatchAnswer)
		}
		answer, err := s.answerItem(c, r, text, left)
		if err != nil {
			problem := door.ProblemOf(c.RequestID, err)
			out = append(out, api.BatchItem{Problem: &problem})
			continue
		}
		size += len(answer)
		out = append(out, api.BatchItem{Answer: answer})
	}
	return out
}

// answerItem answers one item. left says why it is not begun; nil: it is.
func (s *service) answerItem(c *core.Caller, r *http.Request, text json.RawMessage, left error) (json.RawMessage, error) {
	var named struct {
		Operation string `json:"operation"`
	}
	err := json.Unmarshal(text, &named) // decode refuses another case of the name, and a second one
	do, known := batchOperations[named.Operation]
	if err != nil || !known {
		return nil, s.Engine.RecordRefused(r.Context(), c, core.ActionMessage, core.Errorf(core.InvalidField, `"operation" %q is none that a batch can do; "encrypt" is one`, door.Quotable(named.Operation)))
	}
	if left != nil {
		return nil, s.Engine.RecordRefused(r.Context(), c, do.action, left)
	}
	item := r.WithContext(r.Context())
	item.Body = &batchItem{text: text, operation: named.Operation}
	answer, err := do.answer(s, c, item)
	if err != nil {
		return nil, err
	}
	defer door.WipeAnswer(answer)
	return json.Marshal(answer)
}

// batchAnswer is the answer of a batch.
type batchAnswer struct{ api.BatchAnswer }

// Wipe zeroes the answers, which can hold something in clear.
func (a batchAnswer) Wipe() {
	for _, item := range a.Items {
		clear(item.Answer)
	}
}

// randomRequest is the item that asks for random bytes.
type randomRequest struct {
	Bytes int32 `json:"bytes"`
}

// Schema returns what the item must be.
func (*randomRequest) Schema() *api.Schema { return &schemaOfRandom }

var schemaOfRandom = api.Schema{Kind: api.Object, Closed: true, Members: []api.Member{{Name: "bytes", Required: true, Schema: api.OperationOf("GET /v1/random").Query[0].Schema}}}

func readRandom(in *randomRequest) (operation.RNGRetrieveInput, error) {
	return operation.RNGRetrieveInput{Length: in.Bytes}, nil
}

func (s *service) randomItem(c *core.Caller, r *http.Request) (out api.RandomAnswer, err error) {
	in, err := readFor(s, c, r, core.ActionRNGRetrieve, readRandom)
	if err != nil {
		return out, err
	}
	made, err := s.Uses.RNGRetrieve(r.Context(), c, &in)
	return api.RandomAnswer{Random: made.Data}, err
}
