package gateway

import (
	"encoding/json"
	"testing"
)

// CheckBody checks the body of a 200 that a GET of path answered against the contract.
func CheckBody(t *testing.T, path, body string) {
	t.Helper()
	d := readContract(t)
	var value any
	if err := json.Unmarshal([]byte(body), &value); err != nil {
		t.Fatal(err)
	}
	schema := d.at(d.root, "paths", path, "get", "responses", "200", "content", contentJSON, "schema")
	if err := d.check("answer", schema, value); err != nil {
		t.Errorf("GET %s: %v", path, err)
	}
}
