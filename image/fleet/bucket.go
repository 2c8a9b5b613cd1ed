package fleet

// Backup is node.Backup with its secret by reference.
type Backup struct {
	// Path is a directory of that machine, below /var.
	Path string `yaml:"path"`
	// S3 is a bucket; without one no copy leaves the machine.
	S3 *S3 `yaml:"s3"`
}

// S3 is node.S3 with its secret by reference.
type S3 struct {
	// Endpoint is an address like https://s3.eu-central-1.amazonaws.com.
	Endpoint string `yaml:"endpoint"`
	// Region of the bucket, such as eu-central-1.
	Region string `yaml:"region"`
	// Bucket is its name.
	Bucket string `yaml:"bucket"`
	// Prefix of all names in it, such as home/; clusters that share a bucket want one each.
	Prefix string `yaml:"prefix"`
	// AccessKey is the name of the key, and no secret.
	AccessKey string `yaml:"accessKey"`
	// SecretKey is the key itself.
	SecretKey Ref `yaml:"secretKey"`
}
