package server

import (
	"context"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/engine/admin"
	"github.com/keyreeve/keyreeve/server/adminsocket"
	"github.com/keyreeve/keyreeve/server/httpd"
)

// approvalNamed returns the request that a command approves or denies.
func approvalNamed(q *adminsocket.Question) admin.ApprovalInput {
	return admin.ApprovalInput{Tenant: q.Tenant(), ID: q.Get("name"), Reason: q.Get("reason")}
}

func listApprovals(d *adminDoor, ctx context.Context, c *core.Caller, q *adminsocket.Question) (any, error) {
	all, err := admin.NewApprovalVerbs(d.admin).List(ctx, c, q.Tenant(), q.Get("after"), AdminPage)
	out := []httpd.Approval{}
	for i := range all {
		out = append(out, httpd.ApprovalShown(&all[i]))
	}
	return out, err
}

func readApproval(d *adminDoor, ctx context.Context, c *core.Caller, q *adminsocket.Question) (any, error) {
	a, err := admin.NewApprovalVerbs(d.admin).Read(ctx, c, q.Tenant(), q.Get("name"))
	return httpd.ApprovalShown(&a), err
}

func approveRequest(d *adminDoor, ctx context.Context, c *core.Caller, q *adminsocket.Question) (any, error) {
	a, err := admin.NewApprovalVerbs(d.admin).Approve(ctx, c, approvalNamed(q))
	return httpd.ApprovalShown(&a), err
}

func denyRequest(d *adminDoor, ctx context.Context, c *core.Caller, q *adminsocket.Question) (any, error) {
	return struct{}{}, admin.NewApprovalVerbs(d.admin).Deny(ctx, c, approvalNamed(q))
}
