// Package bounds keeps one client from taking the server away from the others.
// Both doors share it. It knows nothing of KMIP or HTTP.
//
// It keeps no secrets and reads no messages. Start at [Memory].
package bounds
