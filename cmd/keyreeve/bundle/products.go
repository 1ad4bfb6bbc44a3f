// Package bundle makes the files that a product needs to speak KMIP with the server: a
// certificate with its key in the form of the product, and the authority of the server. It also
// writes the steps that are left to do.
//
// What is known of products is one table, [Products]. It says only what was seen on the wire, in
// the source of a client, or in a document of its maker. What is not known is left out.
// The package asks no server: package cli does. Start at [Products] and [New].
package bundle

import "strings"

// Form is how certificate and key lie in files.
type Form string

// The forms. The authority of the server is in a PEM file of its own in each.
const (
	FormPEM         Form = "pem"             // certificate and key apart; the key is PKCS #8
	FormTraditional Form = "pem-traditional" // certificate and key apart; the key is PKCS #1 or SEC 1
	FormCombined    Form = "combined"        // the certificate, then the key (PKCS #8), in one file
	FormPKCS12      Form = "pkcs12"          // PKCS #12, with its password in a file
	FormRequest     Form = "request"         // the certificate alone: the product has made its key
)

// Forms lists the forms that can be chosen. FormRequest follows from a certificate request.
func Forms() []Form { return []Form{FormPEM, FormTraditional, FormCombined, FormPKCS12} }

// KeyType is the type of a client's key.
type KeyType string

// The types of keys.
const (
	KeyP256    KeyType = "p256"
	KeyP384    KeyType = "p384"
	KeyRSA2048 KeyType = "rsa2048"
	KeyRSA4096 KeyType = "rsa4096"
)

// KeyTypes lists the types of keys that can be chosen.
func KeyTypes() []KeyType { return []KeyType{KeyP256, KeyP384, KeyRSA2048, KeyRSA4096} }

// PasswordUse says whether a product sends a user name and a password beside its certificate.
type PasswordUse string

// The uses of a password.
const (
	PasswordNone     PasswordUse = ""
	PasswordOptional PasswordUse = "optional"
	PasswordSent     PasswordUse = "sent"
)

// Product is what is known of a product.
type Product struct {
	Name     string // the word for --for
	Title    string
	Versions string // of KMIP that it speaks, as far as it is known
	Form     Form
	Key      KeyType
	Password PasswordUse

	OwnRequest bool // it can make its key and a certificate request itself
	ChecksHost bool // it compares the server's name with the server's certificate

	// Settings is a block of settings of the product, with places such as {host} and {key}. "":
	// they are not known, so the steps say in general what goes into them.
	Settings string
	Where    string // what Settings is a part of
	Notes    []string
}

// Products lists the products in the order of their names, general ones last. Clients that
// were captured, or whose source uses OpenSSL or Go, get ECDSA keys. The others get RSA keys of
// 2,048 bits: nothing else is known to work with all of them.
func Products() []Product { return products }

// ByName finds a product.
func ByName(name string) (Product, bool) {
	for _, p := range products {
		if p.Name == name {
			return p, true
		}
	}
	return Product{}, false
}

// Names lists the words for --for.
func Names() string {
	names := make([]string, len(products))
	for i, p := range products {
		names[i] = p.Name
	}
	return strings.Join(names, ", ")
}

const credentialsMeanNothing = "If its user name and password are to mean nothing, leave them empty, or see docs/authentication.md (Clients whose credentials mean nothing)."

var products = []Product{
	{Name: "barbican", Title: "OpenStack Barbican", Form: FormPEM, Key: KeyP256},
	{Name: "ceph", Title: "Ceph RGW", Versions: "1.0", Form: FormPEM, Key: KeyP256, Password: PasswordOptional,
		Where: "ceph.conf, in the section of the gateway",
		Settings: `rgw crypt s3 kms backend = kmip
rgw crypt kmip addr = {host}:{port}
rgw crypt kmip ca path = {ca}
rgw crypt kmip client cert = {certificate}
rgw crypt kmip client key = {key}
rgw crypt kmip kms key template = $keyid`,
		Notes: []string{
			"RGW makes no keys. It looks for a key by its name and takes the first one: make an AES key of 256 bits with the name that requests to S3 give, as a client of the same group, with this group as its key group.",
			"RGW says NoSuchKey if no key has the name, or if it may not see the key.",
			"rgw crypt require ssl = false is for tests alone."}},
	{Name: "ceph-csi", Title: "ceph-csi", Versions: "1.4", Form: FormPEM, Key: KeyP256, ChecksHost: true,
		Notes: []string{
			"TLS_SERVER_NAME is the name that it expects in the server's certificate.",
			"It makes no key: make an AES key with Encrypt and Decrypt, and name it by its Unique Identifier."}},
	{Name: "datastax", Title: "DataStax DSE and HCD", Form: FormPKCS12, Key: KeyRSA2048,
		Notes: []string{
			"It reads a Java key store: keytool -importkeystore -srckeystore {pkcs12} -srcstoretype PKCS12 -destkeystore client.jks -deststoretype JKS",
			"The authority goes into a trust store: keytool -importcert -file {ca} -keystore trust.jks -storetype JKS",
			"It can have several servers: name each node."}},
	{Name: "db2", Title: "IBM Db2 native encryption", Versions: "1.1 and later", Form: FormPEM, Key: KeyRSA2048,
		Notes: []string{
			"It needs TLS 1.2, and certificates with SHA-2, RSA keys of 2,048 bits or more and critical basic constraints.",
			"In its key store settings PRODUCT_NAME is OTHER. It can have clone servers: name the other nodes."}},
	{Name: "edb", Title: "EDB Postgres TDE", Versions: "2.1", Form: FormPEM, Key: KeyRSA2048,
		Notes: []string{"It has two variants: pykmip and thales. Both encrypt and decrypt at the server."}},
	{Name: "eternus", Title: "Fujitsu ETERNUS", Form: FormPEM, Key: KeyRSA2048,
		Notes: []string{"It gives up after 30 s: limits.operation must be less."}},
	{Name: "fortigate", Title: "FortiGate (FortiOS 7.4 to 7.6)", Versions: "1.0 to 1.4, seen: 1.0", Form: FormPEM, Key: KeyRSA2048, Password: PasswordSent,
		Where: "the command line of FortiOS; import certificate, key and authority before",
		Settings: `config vpn kmip-server
    edit "keyreeve"
        set username "{name}"
        set password <password>
        config server-list
            edit 1
                set server "{host}"
                set port {port}
                set cert "{name}"
            next
        end
    next
end`,
		Notes: []string{"It registers keys for HMAC-SHA1."}},
	{Name: "hitachi", Title: "Hitachi VSP", Versions: "1.0 to 1.4", Form: FormPEM, Key: KeyRSA2048,
		Notes: []string{"It checks the addresses of CRL and OCSP in the server's certificate: it must reach them."}},
	{Name: "iris", Title: "InterSystems IRIS", Versions: "2.0", Form: FormPEM, Key: KeyRSA2048},
	{Name: "mongodb", Title: "MongoDB Enterprise", Versions: "1.2; with useLegacyProtocol 1.0 or 1.1", Form: FormCombined, Key: KeyP256,
		Where: "mongod.conf",
		Settings: `security:
  enableEncryption: true
  kmip:
    serverName: {host}
    port: {port}
    clientCertificateFile: {certificate}
    serverCAFile: {ca}`},
	{Name: "mongodb-driver", Title: "MongoDB drivers (CSFLE, Queryable Encryption)", Versions: "1.0; with delegated encryption 1.2", Form: FormCombined, Key: KeyP256,
		Notes: []string{"They register a secret of 96 bytes (1.0), or encrypt and decrypt at the server (delegated, 1.2)."}},
	{Name: "mysql", Title: "MySQL Enterprise (keyring_okv, component_keyring_kmip)", Versions: "1.1", Form: FormPEM, Key: KeyRSA2048,
		Notes: []string{"The server makes all of its keys: it needs Create, Activate, Locate, Get, Revoke and Destroy."}},
	{Name: "netapp", Title: "NetApp ONTAP (NSE, NVE)", Form: FormPEM, Key: KeyRSA2048, Password: PasswordOptional, OwnRequest: true,
		Notes: []string{
			"It can have 4 primary servers, each with 3 secondary ones, and wants one authority for all of them: the certificates of all nodes must be from it.",
			"Disks stay locked at boot until a server answers: name two nodes at least."}},
	{Name: "openbao", Title: "OpenBao (seal)", Versions: "1.2 to 1.4", Form: FormPEM, Key: KeyP256, ChecksHost: true,
		Notes: []string{
			"It makes no key: make one for AES-GCM with Encrypt and Decrypt, or a pair for RSA-OAEP. The private key of a pair needs a Public Key Link, as Create Key Pair makes it.",
			"tls12_ciphers chooses suites of TLS 1.2. It is not needed for this server."}},
	{Name: "oracle", Title: "Oracle Key Vault client SDK", Versions: "1.1", Form: FormPEM, Key: KeyRSA2048},
	{Name: "percona", Title: "Percona Server for MongoDB, for MySQL, and pg_tde", Versions: "1.0; pg_tde 1.0 and 1.4", Form: FormPEM, Key: KeyP256,
		Notes: []string{
			"Percona Server for MongoDB tries its servers in order: name each node.",
			"Percona Server for MySQL pages through all keys that it may see: give it a client of its own.",
			"pg_tde looks for its key by name: two keys of one name give a warning."}},
	{Name: "pykmip", Title: "PyKMIP", Versions: "1.2; 1.0 to 2.0 can be chosen", Form: FormPEM, Key: KeyP256, Password: PasswordOptional,
		Where: "~/.pykmip/pykmip.conf or /etc/pykmip/pykmip.conf",
		Settings: `[client]
host={host}
port={port}
certfile={certificate}
keyfile={key}
ca_certs={ca}
cert_reqs=CERT_REQUIRED
ssl_version=PROTOCOL_SSLv23`,
		Notes: []string{
			"PROTOCOL_TLSv1_2 works too. PROTOCOL_TLSv1 does not: the server has TLS 1.2 and 1.3.",
			"It cannot read some attributes that Get Attributes without names returns: list them under compat in the settings of the server."}},
	{Name: "rook", Title: "Rook", Versions: "1.4", Form: FormPEM, Key: KeyP256,
		Notes: []string{"It registers keys of 128 bytes, and reads and destroys them without activating them."}},
	{Name: "scality", Title: "Scality CloudServer and Zenko (Arsenal)", Versions: "1.2 and later", Form: FormPEM, Key: KeyP256},
	{Name: "scylladb", Title: "ScyllaDB", Form: FormPEM, Key: KeyRSA2048, Password: PasswordOptional,
		Notes: []string{"It does not compare the server's name with its certificate."}},
	{Name: "synology", Title: "Synology DSM 7", Versions: "1.2", Form: FormPEM, Key: KeyRSA2048,
		Notes: []string{"It opens a connection for each request."}},
	{Name: "truenas", Title: "TrueNAS (SED, keys of ZFS)", Form: FormPEM, Key: KeyRSA2048,
		Notes: []string{"Its setting ssl_version must permit TLS 1.2 or 1.3."}},
	{Name: "vast", Title: "VAST Data 5", Versions: "1.4", Form: FormPEM, Key: KeyRSA2048,
		Notes: []string{"Use TTLV over TLS. The server does not answer KMIP over HTTPS (/kmip)."}},
	{Name: "vcenter", Title: "VMware vCenter 6.5 to 7.0", Versions: "1.1", Form: FormPEM, Key: KeyRSA2048, OwnRequest: true},
	{Name: "veeam", Title: "Veeam Backup & Replication 12", Versions: "1.4", Form: FormPEM, Key: KeyRSA2048,
		Notes: []string{"It makes a pair of RSA keys of 2,048 bits and reads the private key: the tenant must permit this, and the key must be exportable."}},

	{Name: "generic", Title: "Another product, with PEM files", Form: FormPEM, Key: KeyRSA2048, OwnRequest: true},
	{Name: "generic-pkcs12", Title: "Another product, with PKCS #12", Form: FormPKCS12, Key: KeyRSA2048},
}
