package client

// Help shows how to log in.
func (loginCmd) Help() string {
	return `Examples:

    $ keyreeve login --dir dev
    $ keyreeve login --profile prod --url https://kms.example.com:8443 --ca ca.pem --cert app7.pem --key app7-key.pem
    $ keyreeve login --profile prod --user alice --lifetime 12h
    $ keyreeve login --profile prod --user alice < password-file
    $ keyreeve login --profile prod --output json`
}

// Help shows how to make keys.
func (keyCreateCmd) Help() string {
	return `Examples:

    $ keyreeve key create --name payroll --usage encrypt,decrypt --tag env=prod
    $ keyreeve key create --type pair --algorithm EC --curve P-256 --usage sign,verify
    $ keyreeve key create --algorithm HMAC-SHA256 --usage macGenerate,macVerify
    $ KEY=$(keyreeve key create -q --usage encrypt,decrypt)`
}

// Help shows how to list keys.
func (keyListCmd) Help() string {
	return `Examples:

    $ keyreeve key list
    $ keyreeve key list state:Active tag.env:prod "name:my key"
    $ keyreeve key list --limit 10000 -o json`
}

// Help shows how to show a key.
func (keyShowCmd) Help() string {
	return `Examples:

    $ keyreeve key show $KEY
    $ keyreeve key show $KEY -o yaml`
}

// Help shows how to list the versions of a key.
func (keyVersionsCmd) Help() string {
	return `Examples:

    $ keyreeve key versions $KEY
    $ keyreeve key versions alias/payroll -o json`
}

// Help shows how to rotate a key.
func (keyRotateCmd) Help() string {
	return `Examples:

    $ keyreeve key rotate $KEY
    $ NEW=$(keyreeve key rotate -q $KEY)`
}

// Help shows how to activate a key.
func (keyActivateCmd) Help() string {
	return `Examples:

    $ keyreeve key activate $KEY`
}

// Help shows how to revoke a key.
func (keyRevokeCmd) Help() string {
	return `Examples:

    $ keyreeve key revoke $KEY --reason superseded --message "replaced by payroll-2027"
    $ keyreeve key revoke $KEY --reason keyCompromise --compromised-at 2026-01-31T12:00:00Z`
}

// Help shows how to disable a key.
func (keyDisableCmd) Help() string {
	return `Examples:

    $ keyreeve key disable $KEY
    $ keyreeve key disable $KEY@1`
}

// Help shows how to enable a key.
func (keyEnableCmd) Help() string {
	return `Examples:

    $ keyreeve key enable $KEY`
}

// Help shows how to archive a key.
func (keyArchiveCmd) Help() string {
	return `Examples:

    $ keyreeve key archive $KEY`
}

// Help shows how to recover a key.
func (keyRecoverCmd) Help() string {
	return `Examples:

    $ keyreeve key recover $KEY`
}

// Help shows how to delete a key.
func (keyDeleteCmd) Help() string {
	return `Examples:

    $ keyreeve key delete $KEY
    $ keyreeve key delete $KEY --retention 7d`
}

// Help shows how to restore a key.
func (keyRestoreCmd) Help() string {
	return `Examples:

    $ keyreeve key list state:Destroyed
    $ keyreeve key restore $KEY`
}

// Help shows how to destroy a key.
func (keyPurgeCmd) Help() string {
	return `Examples:

    $ keyreeve key purge $KEY
    $ keyreeve key purge $KEY --yes`
}

// Help shows how to give an alias to a key.
func (aliasSetCmd) Help() string {
	return `Examples:

    $ keyreeve key alias set payroll $KEY
    $ keyreeve encrypt alias/payroll report.pdf --out report.kre`
}

// Help shows how to show the key of an alias.
func (aliasShowCmd) Help() string {
	return `Examples:

    $ keyreeve key alias show payroll`
}

// Help shows how to take an alias away.
func (aliasRemoveCmd) Help() string {
	return `Examples:

    $ keyreeve key alias remove payroll`
}

// Help shows how to get a public key.
func (keyPublicKeyCmd) Help() string {
	return `Examples:

    $ keyreeve key public-key $KEY > key.pem
    $ keyreeve key public-key $KEY --jwk`
}

// Help shows how to encrypt.
func (encryptCmd) Help() string {
	return `Examples:

    $ keyreeve encrypt $KEY report.pdf --out report.kre
    $ tar c folder | keyreeve encrypt $KEY > folder.kre
    $ keyreeve encrypt $KEY --text "Hello, World!"`
}

// Help shows how to decrypt.
func (decryptCmd) Help() string {
	return `Examples:

    $ keyreeve decrypt $KEY report.kre --out report.pdf
    $ keyreeve decrypt $KEY < folder.kre | tar x
    $ keyreeve decrypt $KEY hello.kre --text`
}

// Help shows how to make a data key.
func (dataKeyCmd) Help() string {
	return `Store the envelope beside the data. The data key is got back by decrypt.

Examples:

    $ keyreeve data-key $KEY --context table=customers --out customers.dk
    $ keyreeve decrypt $KEY customers.dk --context table=customers | program
    $ keyreeve data-key $KEY --out customers.dk --clear - | program`
}

// Help shows how to sign.
func (signCmd) Help() string {
	return `Examples:

    $ keyreeve sign $KEY report.pdf --out report.sig
    $ keyreeve sign $KEY --digest digest.bin --algorithm ECDSA-SHA-256 --as raw --out report.der`
}

// Help shows how to verify.
func (verifyCmd) Help() string {
	return `The key of a pair is its public key: the second line that key create -q prints, and publicKeyId in JSON.

Examples:

    $ keyreeve verify $PUBLIC report.pdf --signature report.sig`
}

// Help shows how to make and verify a MAC.
func (macCmd) Help() string {
	return `Examples:

    $ keyreeve mac $KEY report.pdf --out report.mac
    $ keyreeve mac $KEY report.pdf --verify report.mac`
}

// Help shows how to hash.
func (hashCmd) Help() string {
	return `Examples:

    $ keyreeve hash report.pdf
    $ keyreeve hash --text abc --algorithm SHA3-256`
}

// Help shows how to get random bytes.
func (randomCmd) Help() string {
	return `Examples:

    $ keyreeve random 32
    $ keyreeve random 32 --as raw --out seed`
}
