// Package bounds keeps one client from using up the server that it shares with others.
// Both doors share it. It knows nothing of KMIP or HTTP.
//
// It keeps no secrets and reads no messages. Start at [Memory].
package bounds
