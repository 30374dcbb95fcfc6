package mvcc

// counts is the counted key index.
type counts struct{}

func (c *counts) reset()         {}
func (c *counts) apply([]*Event) {}

func (db *DB) count(r *reader, rg Range, at int64) (n int64, err error) {
	err = r.scan(rg, at, func(*version) (bool, error) {
		n++
		return true, nil
	})
	return n, err
}

// Count returns the number of keys of rg at revision at.
func (v *View) Count(rg Range, at int64) (int64, error) {
	n, err := v.db.count(&v.r, rg, at)
	return n, v.fence(err)
}
